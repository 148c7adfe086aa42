"""A stand-in for a PostgreSQL server that exits while a client is connecting, or just after that."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from deploy.local.tcp_server import tcp_server


def _message(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack(">i", 4 + len(content)) + content


def _fatal(sqlstate: bytes) -> bytes:
    """Return the message by which PostgreSQL ends a connection."""
    return _message(b"E", b"SFATAL\0C" + sqlstate + b"\0Mshutting down\0\0")


# It ends the connection without a word, or because it starts (57P03), or because an administrator stops it (57P01).
LAST_WORDS = {"none": b"", "57P03": _fatal(b"57P03"), "57P01": _fatal(b"57P01")}


@asynccontextmanager
async def exiting_postgres(last_words: bytes, *, after_log_in: bool = False) -> AsyncIterator[int]:
    """Answer connections until the log-in begins, or until it has succeeded. Yields the port."""

    async def answer_and_exit(asked: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        assert len(await asked.readexactly(8)) == 8  # may the connection be encrypted?
        answer.write(b"N")
        assert await asked.read(1)  # the first bytes of the log-in
        if after_log_in:
            answer.write(
                _message(b"R", struct.pack(">i", 0))  # accepted
                + _message(b"S", b"server_version\0" + b"18.6\0")
                + _message(b"Z", b"I")  # ready for a query
            )
        answer.write(last_words)

    async with tcp_server(answer_and_exit) as port:
        yield port

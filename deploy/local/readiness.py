"""Readiness checks: ask a server one question in its own protocol, and return whether it answers as it should."""

import asyncio
import ssl
import struct
from contextlib import suppress

TIMEOUT_SECONDS = 2.0
"""Time limit of one check, the connection included. A server that takes longer counts as not ready."""
_API_VERSIONS = 18
"""The key of Kafka's ApiVersions request."""


async def http_answers(port: int, path: str) -> bool:
    """Return whether GET `path` is answered with 200."""
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode()
    answer = await _exchange(port, request, length=12)
    return answer.endswith(b" 200")


async def http_mentions(port: int, path: str, text: bytes, *, tls: ssl.SSLContext | None = None) -> bool:
    """Return whether the answer to GET `path` contains a text, in its headers or its body."""
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode()
    return text in await _exchange(port, request, length=None, tls=tls)


async def valkey_answers(port: int, *, password: str | None = None) -> bool:
    """Return whether PING is answered with PONG, which it is not while Valkey loads its data."""
    log_in, accepted = (f"AUTH {password}\r\n".encode(), b"+OK\r\n") if password else (b"", b"")
    expected = accepted + b"+PONG\r\n"
    return await _exchange(port, log_in + b"PING\r\n", length=len(expected)) == expected


async def smtp_answers(port: int) -> bool:
    """Return whether the server sends its greeting."""
    return await _exchange(port, b"", length=4) == b"220 "


async def kafka_answers(port: int, *, tls: ssl.SSLContext | None = None) -> bool:
    """Return whether ApiVersions is answered without an error, as it is once the broker serves clients."""
    client = b"orderly-ready"
    body = struct.pack(">hhih", _API_VERSIONS, 0, 1, len(client)) + client
    answer = await _exchange(port, struct.pack(">i", len(body)) + body, length=10, tls=tls)
    return len(answer) == 10 and struct.unpack(">iih", answer)[1:] == (1, 0)


async def _exchange(port: int, question: bytes, *, length: int | None, tls: ssl.SSLContext | None = None) -> bytes:
    """Send a question; return the first `length` bytes of the answer, or all; nothing if it ends early or fails."""
    with suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
        async with asyncio.timeout(TIMEOUT_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
            try:
                writer.write(question)
                return await (reader.read() if length is None else reader.readexactly(length))
            finally:
                writer.close()
    return b""

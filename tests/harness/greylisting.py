"""Greylisting: a proxy of a mail server that turns each recipient away until some time after its first mail."""

import asyncio
import time
from contextlib import suppress

REPLY = b"451 4.7.1 Greylisted, try again later\r\n"
_RECIPIENT = b"RCPT TO:"
_DATA = b"DATA"
_END_OF_DATA = b".\r\n"


class GreylistingProxy:
    """Forwards SMTP to one server. It needs clients without pipelining, as ours is."""

    def __init__(self, *, target_port: int) -> None:
        self.port = 0
        self.turned_away = 0
        """The number of recipients that were turned away."""
        self._target_port = target_port
        self._seconds = 0.0
        self._first_seen: dict[bytes, float] = {}
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    def greylist(self, seconds: float) -> None:
        """Turn recipients away for `seconds` from their first mail on; 0 ends it."""
        self._seconds = seconds
        self._first_seen = {}

    async def open(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening, and cut the open connections."""
        if self._server is not None:
            self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter) -> None:
        connection = asyncio.create_task(self._connect(client_in, client_out))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _connect(self, client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter) -> None:
        writers = [client_out]
        try:
            server_in, server_out = await asyncio.open_connection("127.0.0.1", self._target_port)
            writers.append(server_out)
            async with asyncio.TaskGroup() as group:
                replies = group.create_task(_forward_replies(server_in, client_out))
                await self._forward_commands(client_in, client_out, server_out)
                replies.cancel()
        except OSError:
            return
        finally:
            for writer in writers:
                writer.close()

    async def _forward_commands(
        self, client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter, server_out: asyncio.StreamWriter
    ) -> None:
        in_data = False
        with suppress(OSError):
            while line := await client_in.readline():
                if not in_data and line.upper().startswith(_RECIPIENT) and self._is_grey(line):
                    self.turned_away += 1
                    client_out.write(REPLY)
                    await client_out.drain()
                    continue
                in_data = line != _END_OF_DATA if in_data else line.strip().upper() == _DATA
                server_out.write(line)
                await server_out.drain()

    def _is_grey(self, recipient: bytes) -> bool:
        if not self._seconds:
            return False
        now = time.monotonic()
        return now - self._first_seen.setdefault(recipient, now) < self._seconds


async def _forward_replies(server_in: asyncio.StreamReader, client_out: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await server_in.read(64 * 1024):
            client_out.write(chunk)
            await client_out.drain()

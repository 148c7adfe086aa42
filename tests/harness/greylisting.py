"""Greylisting: a proxy of a mail server that defers each recipient until some time after its first mail."""

import asyncio
import time
from contextlib import suppress

from deploy.local.proxy import Proxy

REPLY = b"451 4.7.1 Greylisted, try again later\r\n"
_RECIPIENT = b"RCPT TO:"
_DATA = b"DATA"
_END_OF_DATA = b".\r\n"


class GreylistingProxy(Proxy):
    """Forwards SMTP to one server. It needs clients without pipelining, as ours is."""

    def __init__(self, *, target_port: int) -> None:
        super().__init__(target_port=target_port)
        self.turned_away = 0
        """The number of recipients that were turned away."""
        self._seconds = 0.0
        self._first_seen: dict[bytes, float] = {}

    def greylist(self, seconds: float) -> None:
        """Turn recipients away for `seconds` from their first mail on; 0 ends it."""
        self._seconds = seconds
        self._first_seen = {}

    async def _connect(self, client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter) -> None:
        try:
            server_in, server_out = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:
            return
        directions = [
            asyncio.create_task(_forward_replies(server_in, client_out)),
            asyncio.create_task(self._forward_commands(client_in, client_out, server_out)),
        ]
        try:
            # Whichever side closes its connection ends the other one.
            await asyncio.wait(directions, return_when="FIRST_COMPLETED")
        finally:
            for direction in directions:
                direction.cancel()
            server_out.close()

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

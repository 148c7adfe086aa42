"""A TCP proxy that can cut a connection between COMMIT and its reply, stall it, or partition it as a network does."""

import asyncio
import time
from contextlib import suppress

from deploy.local.proxy import Proxy

CHUNK_BYTES = 64 * 1024


class CuttingProxy(Proxy):
    """Forwards to one server. When armed, it forwards the next chunk that contains `word`, and drops the reply."""

    def __init__(self, *, target_port: int, word: bytes = b"COMMIT", port: int = 0) -> None:
        """Listen on `port`, or on a free one, once it is opened."""
        super().__init__(target_port=target_port, port=port)
        self.cuts = 0
        self._word = word
        self._armed = 0
        self._refuses_until = 0.0
        self._stalled = asyncio.Event()
        self._connected = asyncio.Event()
        self._connected.set()
        self._healing: asyncio.TimerHandle | None = None

    def arm(self, times: int = 1) -> None:
        """Cut that many of the next connections that send the word."""
        self._armed += times

    @property
    def armed(self) -> int:
        """The number of connections that are still to be cut."""
        return self._armed

    def disarm(self) -> None:
        """Cut no more connections."""
        self._armed = 0

    def refuse(self, seconds: float) -> None:
        """Close new connections at once, for `seconds`."""
        self._refuses_until = max(self._refuses_until, time.monotonic() + seconds)

    def stall(self) -> None:
        """Forward nothing more on the present connections and keep them open, as if their peer had vanished."""
        self._stalled.set()
        self._stalled = asyncio.Event()

    def partition(self, seconds: float) -> None:
        """Let nothing through for `seconds`, then go on with what both sides have sent, as a network does."""
        self.heal()
        self._connected.clear()
        self._healing = asyncio.get_running_loop().call_later(seconds, self._connected.set)

    def heal(self) -> None:
        """End a partition now."""
        if self._healing is not None:
            self._healing.cancel()
        self._connected.set()

    async def _connect(self, client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter) -> None:
        if time.monotonic() < self._refuses_until:
            return
        # The kernel has accepted it, where a partitioned network would not: the client waits either way.
        await self._connected.wait()
        with suppress(OSError):
            await self._forward(client_in, client_out)

    async def _forward(self, client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter) -> None:
        """Forward until one side has closed the connection, or until it is stalled; then hold it. Raises: OSError."""
        server_in, server_out = await asyncio.open_connection("127.0.0.1", self.target_port)
        doomed = asyncio.Event()
        pumps = [
            asyncio.create_task(self._pump_in(client_in, server_out, doomed)),
            asyncio.create_task(self._pump_out(server_in, client_out, doomed)),
        ]
        stall = asyncio.create_task(self._stalled.wait())
        try:
            done, _ = await asyncio.wait({*pumps, stall}, return_when="FIRST_COMPLETED")
            if stall in done:
                for pump in pumps:
                    pump.cancel()
                await asyncio.Event().wait()
        finally:
            for task in (*pumps, stall):
                task.cancel()
            server_out.close()

    async def _pump_in(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, doomed: asyncio.Event) -> None:
        with suppress(OSError):
            while chunk := await source.read(CHUNK_BYTES):
                if self._armed and self._word in chunk:
                    self._armed -= 1
                    self.cuts += 1
                    doomed.set()
                await self._connected.wait()
                sink.write(chunk)
                await sink.drain()

    async def _pump_out(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, doomed: asyncio.Event) -> None:
        with suppress(OSError):
            while chunk := await source.read(CHUNK_BYTES):
                if doomed.is_set():
                    return
                await self._connected.wait()
                sink.write(chunk)
                await sink.drain()

"""A TCP proxy: the part that all proxies of the tests have in common."""

import asyncio
from abc import ABC, abstractmethod


class Proxy(ABC):
    """Accepts connections. A subclass forwards each of them."""

    def __init__(self, *, target_port: int, port: int = 0) -> None:
        """Listen on `port`, or on a free one, once it is opened."""
        self.port = port
        self.target_port = target_port
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
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

    @abstractmethod
    async def _connect(self, client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter) -> None:
        """Forward a connection until it ends, and close both sides."""

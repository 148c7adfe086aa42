"""A small server of streams, which has closed all of its connections when it is closed."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]
"""Handles a connection, which is closed when the handler returns or fails."""


class TcpServer:
    """Runs a handler for each connection.

    asyncio's own server loses what it has just accepted when it is closed: the garbage collector finds the open socket,
    and the ResourceWarning fails whichever test runs then.
    """

    def __init__(self, handle: Handler, *, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        """Listen on `port`, or on a free one, once it is opened."""
        self.port = port
        self._handle = handle
        self._tls = tls
        self._socket: socket.socket | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listen."""
        listening = socket.create_server(("127.0.0.1", self.port))
        self.port = listening.getsockname()[1]
        self.accept_from(listening)

    def accept_from(self, listening: socket.socket) -> None:
        """Accept the connections to a socket that listens, and close it in `close`."""
        listening.setblocking(False)
        self._socket = listening
        asyncio.get_running_loop().add_reader(listening, self._accept, listening)

    async def close(self) -> None:
        """Stop listening, and cut the open connections."""
        if self._socket is None:
            return
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()
        self._socket = None
        # A task that is cancelled before it begins would not close its connection.
        await asyncio.sleep(0)
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self, listening: socket.socket) -> None:
        with suppress(BlockingIOError, ConnectionAbortedError):
            accepted, _ = listening.accept()
            accepted.setblocking(False)
            connection = asyncio.create_task(self._serve(accepted))
            self._connections.add(connection)
            connection.add_done_callback(self._connections.discard)

    async def _serve(self, accepted: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        stream = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(stream)
        transport, _ = await loop.connect_accepted_socket(lambda: protocol, accepted, ssl=self._tls)
        writer = asyncio.StreamWriter(transport, protocol, stream, loop)
        try:
            await self._handle(stream, writer)
        except asyncio.CancelledError:
            # A client that reads nothing would keep a closed connection open until it takes the rest.
            transport.abort()
            raise
        finally:
            writer.close()


@asynccontextmanager
async def tcp_server(handle: Handler, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Run a handler for each connection to a free port, which is yielded."""
    server = TcpServer(handle, tls=tls)
    await server.open()
    try:
        yield server.port
    finally:
        await server.close()

"""A TCP proxy: the part that all proxies have in common."""

import asyncio
from abc import ABC, abstractmethod

from deploy.local.tcp_server import TcpServer


class Proxy(TcpServer, ABC):
    """Accepts connections. A subclass forwards each of them."""

    def __init__(self, *, target_port: int, port: int = 0) -> None:
        """Listen on `port`, or on a free one, once it is opened."""
        super().__init__(self._connect, port=port)
        self.target_port = target_port

    @abstractmethod
    async def _connect(self, client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter) -> None:
        """Forward a connection until it ends, and close the server's side. The client's side is closed then."""

"""A TCP proxy that ends TLS in front of a server without TLS: the wheel's Valkey is built without it."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from deploy.local.tcp_server import tcp_server


@asynccontextmanager
async def tls_proxy(target_port: int, context: ssl.SSLContext) -> AsyncIterator[int]:
    """Accept TLS connections on a free port, which is yielded, and pass their bytes on."""

    async def pass_on(client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_connection("127.0.0.1", target_port)
        try:
            await asyncio.gather(_copy(client, to_server), _copy(server, to_client))
        finally:
            to_server.close()

    async with tcp_server(pass_on, tls=context) as port:
        yield port


async def _copy(source: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while content := await source.read(65_536):
            writer.write(content)
            await writer.drain()
    writer.close()

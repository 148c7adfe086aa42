"""A test's server leaves no connection open, whenever the client has opened it."""

import asyncio
import gc
from contextlib import suppress

import pytest

from deploy.local.tcp_server import TcpServer


async def _wait_for_client(stream: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await stream.read()


@pytest.mark.parametrize("iterations", range(8))
async def test_a_connection_is_closed_that_a_client_opens_as_the_server_closes(iterations: int) -> None:
    """The socket may be accepted while its handler has not begun."""
    server = TcpServer(_wait_for_client)
    await server.open()
    opening = asyncio.create_task(asyncio.open_connection("127.0.0.1", server.port))
    for _ in range(iterations):
        await asyncio.sleep(0)

    await server.close()

    # The kernel resets what it has accepted and the server has not.
    with suppress(ConnectionError):
        stream, writer = await opening
        try:
            assert await asyncio.wait_for(stream.read(), timeout=5) == b""
        finally:
            writer.close()
    gc.collect()


async def test_a_client_that_reads_nothing_keeps_no_connection_open() -> None:
    sent = 50_000_000

    async def write_all(_stream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(bytes(sent))
        await writer.drain()

    server = TcpServer(write_all)
    await server.open()
    stream, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1)
    received = len(await stream.readexactly(1))

    await server.close()

    while chunk := await asyncio.wait_for(stream.read(1_000_000), timeout=5):
        received += len(chunk)
    assert received < sent
    writer.close()

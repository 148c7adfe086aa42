"""The proxy cuts between COMMIT and its reply: the server has committed, and the client does not know."""

import asyncpg
import pytest

from deploy.local.cutting_proxy import CuttingProxy
from shared.connection_urls import dsn_of
from tests.harness.databases import DatabaseFactory


async def test_a_commit_whose_reply_is_cut_has_happened(database_factory: DatabaseFactory) -> None:
    url = dsn_of(await database_factory())
    direct = await asyncpg.connect(url)
    await direct.execute("CREATE TABLE note (text text)")
    port = int(url.rsplit(":", 1)[1].split("/")[0])
    proxy = CuttingProxy(target_port=port)
    await proxy.open()
    connection = await asyncpg.connect(url.replace(f":{port}/", f":{proxy.port}/"))
    async with connection.transaction():
        await connection.execute("INSERT INTO note VALUES ('calm')")
    proxy.arm()
    with pytest.raises((asyncpg.PostgresConnectionError, asyncpg.InterfaceError, ConnectionError)):
        async with connection.transaction():
            await connection.execute("INSERT INTO note VALUES ('cut')")
    assert [row["text"] for row in await direct.fetch("SELECT text FROM note")] == ["calm", "cut"]
    assert proxy.cuts == 1
    await direct.close()
    await proxy.close()

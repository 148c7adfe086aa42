"""A restore to the newest state has every commit that was acknowledged, however the server ended."""

import asyncio
from contextlib import suppress

import asyncpg

from deploy.backup.base_backup import back_up
from shared.connection_errors import CONNECTION_ERRORS
from tests.deploy.backup.archived_server import ArchivedServer, archived_server

CLIENTS = 4


class Clients:
    """Clients that insert rows at once, and remember which commits were acknowledged."""

    def __init__(self, server: ArchivedServer, *, first: int) -> None:
        self.acknowledged: set[int] = set()
        self._server = server
        self._numbers = iter(range(first, first + 1_000_000))

    async def run(self) -> None:
        """Insert until the server dies."""
        await asyncio.gather(*(self._insert() for _ in range(CLIENTS)))

    async def _insert(self) -> None:
        with suppress(*CONNECTION_ERRORS):
            connection = await asyncpg.connect(self._server.postgres.admin_url)
            while True:
                value = next(self._numbers)
                await connection.execute("INSERT INTO entry VALUES ($1)", value)
                self.acknowledged.add(value)

    async def have(self, number: int) -> None:
        while len(self.acknowledged) < number:  # noqa: ASYNC110 - the server sends no events
            await asyncio.sleep(0.01)


async def test_no_acknowledged_commit_is_lost_with_the_server_not_even_after_a_second_restore() -> None:
    async with archived_server("synchronous") as server:
        await back_up(server.server)
        acknowledged: set[int] = set()
        for generation in (1, 2):
            clients = Clients(server, first=generation * 1_000_000)
            running = asyncio.create_task(clients.run())
            async with asyncio.timeout(30):
                await clients.have(300)
            await server.destroy()
            await running
            acknowledged |= clients.acknowledged

            restored = await server.restore()

            assert restored.former_data is None
            assert restored.warnings == []
            assert restored.incarnation == f"{generation + 1:04}"
            await server.start()
            found = set(await server.values())
            assert acknowledged <= found
            # At most the commits that were under way were not acknowledged.
            assert len(found - acknowledged) <= CLIENTS * generation
        assert [each.record.timeline for each in server.archive.incarnations()] == [1, 2, 3]


async def test_commits_wait_while_the_receiver_is_killed_and_none_is_lost() -> None:
    async with archived_server("synchronous") as server:
        await back_up(server.server)
        clients = Clients(server, first=1)
        running = asyncio.create_task(clients.run())
        async with asyncio.timeout(30):
            for kills in range(1, 3):
                await clients.have(kills * 100)
                await server.kill_receiver()
                await clients.have(kills * 100 + 50)
        await server.destroy()
        await running

        await server.restore()

        assert [report for report in server.reports if "was killed by SIGKILL" in report]
        await server.start()
        assert clients.acknowledged <= set(await server.values())
        assert len(server.archive.incarnations()) == 2


async def test_a_server_that_is_stopped_sends_the_rest_of_its_wal_first() -> None:
    async with archived_server("asynchronous") as server:
        await back_up(server.server)
        for value in range(20):
            await server.insert(value)
        await server.stop()

        restored = await server.restore()

        assert restored.former_data is not None
        assert (restored.former_data / "PG_VERSION").exists()
        await server.start()
        assert await server.values() == list(range(20))


async def test_without_wal_a_base_backup_can_be_restored_to_its_own_end() -> None:
    async with archived_server("off") as server:
        await server.insert(1)
        await back_up(server.server)
        await server.insert(2)
        await server.destroy()

        await server.restore()

        await server.start()
        assert await server.values() == [1]

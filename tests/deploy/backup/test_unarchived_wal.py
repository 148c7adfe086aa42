"""A restore also applies what the archive lacks, from the WAL in the data folder that it replaces."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from deploy.backup.base_backup import back_up
from deploy.backup.errors import TargetAfterEnd
from tests.deploy.backup.archived_server import SEGMENT_BYTES, ArchivedServer, archived_server


@pytest.mark.parametrize("segments", [0, 3])
async def test_commits_that_the_archive_lacks_are_restored_from_the_former_data_folder(segments: int) -> None:
    async with archived_server() as server:
        await back_up(server.server)
        await server.insert(1)
        await server.archived()
        moment = await _commit_without_receiver(server, segments=segments)
        await server.kill()

        restored = await server.restore()

        await server.start()
        assert await server.values() == [1, 2, 3]
        assert restored.last_transaction_at is not None
        assert restored.last_transaction_at >= moment
        assert restored.incarnation == "0002"


async def test_a_time_that_the_archive_has_not_reached_is_restored_from_the_former_data_folder() -> None:
    async with archived_server() as server:
        await back_up(server.server)
        await server.insert(1)
        await server.archived()
        moment = await _commit_without_receiver(server, segments=1)
        await server.kill()

        with pytest.raises(TargetAfterEnd, match="ends before"):
            await server.restore(to=moment + timedelta(hours=1))
        await server.restore(to=moment)

        await server.start()
        assert await server.values() == [1, 2]


async def test_without_a_receiver_a_base_backup_is_continued_by_the_former_data_folder() -> None:
    async with archived_server("off") as server:
        await back_up(server.server)
        await server.insert(1)
        await server.kill()

        await server.restore()

        await server.start()
        assert await server.values() == [1]


async def test_a_data_folder_with_damaged_wal_costs_nothing_that_is_archived() -> None:
    async with archived_server() as server:
        await back_up(server.server)
        await server.insert(1)
        await server.archived()
        await server.kill()
        for segment in _segments(server.postgres.folder):
            segment.write_bytes(bytes(SEGMENT_BYTES))

        await server.restore()

        await server.start()
        assert await server.values() == [1]


async def test_the_wal_of_another_server_is_not_applied() -> None:
    async with archived_server() as server, archived_server() as other:
        await back_up(server.server)
        await server.insert(1)
        await server.archived()
        await other.execute("SELECT pg_logical_emit_message(true, '', repeat('x', 1000)) FROM generate_series(1, 4000)")
        await server.destroy()
        await other.kill()
        other.postgres.folder.rename(server.postgres.folder)

        await server.restore()

        await server.start()
        assert await server.values() == [1]


async def _commit_without_receiver(server: ArchivedServer, *, segments: int) -> datetime:
    """Commit two rows, and complete segments before each; return a time between the rows."""
    await server.stop_receiver()
    await server.fill_segments(segments)
    moment = await server.insert(2)
    await server.fill_segments(segments)
    await server.insert(3)
    return moment


def _segments(data_folder: Path) -> list[Path]:
    return [each for each in (data_folder / "pg_wal").iterdir() if each.is_file() and len(each.name) == 24]

"""A restore to a time has what was committed before it and nothing later, or says why it cannot be made."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deploy.backup.base_backup import back_up
from deploy.backup.errors import NoBackup, ServerRunning, TargetAfterEnd, WalDamaged, WalGap
from tests.deploy.backup.archived_server import SEGMENT_BYTES, ArchivedServer, archived_server


async def test_a_server_goes_back_between_two_commits_and_back_again_from_there() -> None:
    async with archived_server() as server:
        before_any_backup = datetime.now(UTC)
        first_backup = await back_up(server.server)
        after_first = await server.insert(1)
        await server.insert(2)
        await server.archived()
        with pytest.raises(ServerRunning, match=r"The server of shop runs \(pid \d+\)\. Stop it"):
            await server.restore(to=after_first)
        await server.destroy()

        restored = await server.restore(to=after_first)

        assert (restored.from_incarnation, restored.incarnation) == ("0001", "0002")
        assert restored.backup.name == first_backup.name
        assert restored.last_transaction_at is not None
        assert first_backup.record.finished_at < restored.last_transaction_at <= after_first
        await server.start()
        assert await server.values() == [1]
        # The abandoned history stays, so a time in it can still be restored; so can one in the new history.
        after_third = await server.insert(3)
        await server.insert(4)
        await server.stop()
        assert (await server.restore(to=after_third)).from_incarnation == "0002"
        assert (await server.restore(to=after_first)).from_incarnation == "0001"
        with pytest.raises(NoBackup, match="No verified base backup of shop ended before"):
            await server.restore(to=before_any_backup)
        await server.start()
        assert await server.values() == [1]
        # Timelines are never used twice, not even by restores of one incarnation.
        assert [each.record.timeline for each in server.archive.incarnations()] == [1, 2, 3, 4]


async def test_a_time_after_the_end_is_refused_unless_the_server_was_shut_down_before() -> None:
    async with archived_server() as server:
        await back_up(server.server)
        await server.insert(1)
        last = await server.insert(2)
        await server.archived()
        assert server.process is not None
        server.process.kill()
        await server.stop()
        former = server.postgres.folder.stat().st_ino

        with pytest.raises(TargetAfterEnd, match="The archive of shop ends before"):
            await server.restore(to=last + timedelta(seconds=1))

        # The failed restore has changed nothing.
        assert server.postgres.folder.stat().st_ino == former
        assert [path.name for path in server.postgres.folder.parent.iterdir()] == ["data"]
        assert len(server.archive.incarnations()) == 1
        await server.start()
        await server.stop()
        restored = await server.restore(to=last + timedelta(seconds=1))
        await server.start()
        assert restored.from_incarnation == "0001"
        assert await server.values() == [1, 2]


async def test_a_missing_segment_is_named_and_what_comes_before_it_can_be_restored() -> None:
    async with archived_server() as server:
        await back_up(server.server)
        after_first = await server.insert(1)
        await server.insert(2)
        lost = await _segment_of_next_commit(server)
        await server.insert(3)
        await server.fill_segments(2)
        await server.archived()
        await server.stop()
        lost.unlink()

        with pytest.raises(WalGap, match=f"WAL segment {lost.name} of shop is missing"):
            await server.restore()
        restored = await server.restore(to=after_first)

        await server.start()
        assert await server.values() == [1]
        assert restored.incarnation == "0002"


async def test_a_damaged_segment_does_not_end_the_restored_history_silently() -> None:
    async with archived_server() as server:
        await back_up(server.server)
        await server.insert(1)
        damaged = await _segment_of_next_commit(server)
        await server.insert(2)
        await server.fill_segments(3)
        await server.archived()
        await server.stop()
        with damaged.open("r+b") as file:
            file.seek(SEGMENT_BYTES // 2)
            half = file.read()
            file.seek(0)
            file.write(b"\xff" * (SEGMENT_BYTES - len(half)))

        with pytest.raises(WalDamaged, match="although the archive reaches"):
            await server.restore()

        assert (server.postgres.folder / "PG_VERSION").exists()
        assert len(server.archive.incarnations()) == 1


async def _segment_of_next_commit(server: ArchivedServer) -> Path:
    """Complete the current segment, and return the archive's file of the one that follows."""
    await server.fill_segments(1)
    async with server.connection() as connection:
        await connection.execute("SELECT pg_logical_emit_message(true, '', 'x')")
        name: str = await connection.fetchval("SELECT pg_walfile_name(pg_current_wal_insert_lsn())")
    current = server.archive.current()
    assert current is not None
    return current.wal.folder / name

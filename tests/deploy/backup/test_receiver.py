"""The receiver goes on where it stopped, or begins another incarnation if WAL is missing; it shows no password."""

import asyncio

import asyncpg
import psutil
import pytest

from deploy.backup.base_backup import back_up
from deploy.backup.lag import measure
from deploy.backup.receiver import receiver_program
from deploy.backup.server import ROLE
from tests.deploy.backup.archived_server import PASSWORD, archived_server
from tests.harness.exiting_postgres import LAST_WORDS, exiting_postgres


async def test_a_server_keeps_limited_wal_for_a_receiver_that_is_away() -> None:
    async with archived_server(max_slot_wal_keep_size="2MB") as server:
        await back_up(server.server)
        await server.stop_receiver()
        await server.fill_segments(2)
        await server.start_receiver()
        await server.archived()
        assert [each.name for each in server.archive.incarnations()] == ["0001"]
        await server.stop_receiver()
        await server.fill_segments(6)
        await server.execute("CHECKPOINT")
        measured = await measure(server.server.access)
        assert (measured.is_connected, measured.is_lost) == (False, True)

        await server.start_receiver()

        assert "WARNING: shop begins incarnation 0002: replication slot lost" in server.receiver_log
        measured = await measure(server.server.access)
        assert (measured.is_connected, measured.is_lost) == (True, False)
        await back_up(server.server)
        await server.insert(1)
        await server.stop()
        assert (await server.restore()).from_incarnation == "0002"
        await server.start()
        assert await server.values() == [1]


@pytest.mark.parametrize("after_log_in", [False, True])
@pytest.mark.parametrize("last_words", LAST_WORDS.values(), ids=LAST_WORDS.keys())
async def test_a_receiver_is_not_ready_whenever_its_server_exits(last_words: bytes, after_log_in: bool) -> None:
    async with exiting_postgres(last_words, after_log_in=after_log_in) as port:
        url = f"postgresql://postgres:admin@127.0.0.1:{port}/postgres"
        program = receiver_program("shop", admin_url=url, environment={"BACKUP_ARCHIVE": "archive"})

        assert [await program.ready() for _ in range(20)] == [False] * 20


async def test_a_lost_archive_or_slot_begins_another_incarnation() -> None:
    async with archived_server() as server:
        for begun, reason in (("0002", "no replication slot"), ("0003", "gap: the archive ends at")):
            await server.stop_receiver()
            if begun == "0002":
                await server.execute("SELECT pg_drop_replication_slot('orderly_archive')")
            else:
                # An old copy of the archive was put back.
                await server.start_receiver()
                await server.fill_segments(3)
                await server.archived()
                await server.stop_receiver()
                current = server.archive.current()
                assert current is not None
                for segment in list(current.wal.segments().values())[1:]:
                    segment.unlink()

            await server.start_receiver()

            current = server.archive.current()
            assert current is not None
            assert current.name == begun
            assert current.record.reason.startswith(reason)


async def test_the_role_can_read_no_row_and_no_password_is_on_a_command_line() -> None:
    async with archived_server() as server:
        seen: set[str] = set()

        backing_up = asyncio.create_task(back_up(server.server))
        while not backing_up.done():
            seen |= {" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])}
            await asyncio.sleep(0)
        await backing_up

        shown = [line for line in seen if "orderly" in line]
        assert [line for line in shown if "pg_receivewal" in line]
        assert [line for line in shown if "pg_basebackup" in line]
        assert [line for line in seen if PASSWORD in line] == []
        folders = [server.archive.folder.parent, *server.archive.folder.glob("**/")]
        assert {oct(path.stat().st_mode & 0o777) for path in folders} == {"0o700"}
        with pytest.raises(
            asyncpg.InvalidAuthorizationSpecificationError, match=r"no pg_hba\.conf entry for replication"
        ):
            await asyncpg.connect(server.postgres.admin_url, server_settings={"replication": "true"})
        async with server.connection() as connection:
            rights = await connection.fetchrow(
                "SELECT rolsuper, rolcreaterole, rolcreatedb, rolreplication,"
                " has_table_privilege(rolname, 'entry', 'SELECT') AS reads FROM pg_roles WHERE rolname = $1",
                ROLE,
            )
        assert rights is not None
        assert dict(rights) == {
            "rolsuper": False,
            "rolcreaterole": False,
            "rolcreatedb": False,
            "rolreplication": True,
            "reads": False,
        }

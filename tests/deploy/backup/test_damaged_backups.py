"""A base backup counts only if it is intact, and a restore needs room."""

import shutil

import pytest

from deploy.backup.archive import BaseBackup
from deploy.backup.base_backup import back_up
from deploy.backup.errors import Busy, DiskFull, NoBackup, NotArchiving
from deploy.backup.retention import Retention, purge
from tests.deploy.backup.archived_server import archived_server, run_cli
from tests.harness.small_disk import disks_can_be_mounted, small_disk


async def test_a_damaged_base_backup_is_found_and_an_earlier_one_is_used() -> None:
    async with archived_server() as server:
        first = await back_up(server.server)
        await server.insert(1)
        second = await back_up(server.server)
        await server.insert(2)
        await server.stop()
        damage(second)

        status, output = await run_cli(server, "verify")
        restored = await server.restore()

        assert (status, output) == (1, f"shop: base backup 0001/{second.name} is damaged\n")
        assert restored.backup.name == first.name
        assert restored.warnings == [f"Base backup {second.name} is damaged and was not used."]
        await server.start()
        assert await server.values() == [1, 2]
        await server.stop()
        [third] = server.archive.incarnations()[-1].backups()
        damage(third)
        with pytest.raises(NoBackup, match=f"no verified base backup.*Damaged: {third.name}"):
            await server.restore()


async def test_a_backup_that_fails_leaves_nothing_and_a_killed_one_is_cleaned_up() -> None:
    async with archived_server() as server:
        made = await back_up(server.server)
        leftover = made.folder.with_name("20260101T000000.000000Z.unfinished")
        shutil.copytree(made.folder, leftover)
        with server.archive.locked(), pytest.raises(Busy, match="Another backup, restore or purge works"):
            await back_up(server.server)
        await server.stop()

        with pytest.raises(NotArchiving, match=r"127\.0\.0\.1:\d+ as orderly_archive: "):
            await back_up(server.server)

        [incarnation] = server.archive.incarnations()
        assert [each.name for each in incarnation.backups()] == [made.name]
        await purge(server.archive, Retention())
        assert [path.name for path in incarnation.base.iterdir()] == [made.name]


@pytest.mark.skipif(not disks_can_be_mounted(), reason="this process may not mount file systems")
async def test_a_restore_that_does_not_fit_keeps_the_former_data() -> None:
    async with archived_server() as server:
        await back_up(server.server)
        await server.stop()
        folder = server.postgres.folder
        with small_disk(server.folder / "small", mebibytes=64):
            moved = server.folder / "small" / "data"
            shutil.copytree(folder, moved)
            object.__setattr__(server.postgres, "folder", moved)

            with pytest.raises(DiskFull, match="MiB free, and a restore of"):
                await server.restore()

            assert (moved / "PG_VERSION").exists()
        object.__setattr__(server.postgres, "folder", folder)


def damage(backup: BaseBackup) -> None:
    """Change one byte of a table."""
    table = max((backup.data / "base").rglob("[0-9]*"), key=lambda path: path.stat().st_size)
    content = bytearray(table.read_bytes())
    content[len(content) // 2] ^= 0xFF
    table.write_bytes(content)

"""Retention removes what no restore needs, and nothing else."""

from datetime import UTC, datetime, timedelta

from deploy.backup.base_backup import back_up
from deploy.backup.retention import Retention, purge
from tests.deploy.backup.archived_server import archived_server


async def test_old_backups_go_with_their_wal_and_the_rest_can_be_restored() -> None:
    async with archived_server() as server:
        made = []
        for value in range(4):
            made.append(await back_up(server.server))
            moment = await server.insert(value)
            await server.fill_segments(2)
        await server.archived()
        [incarnation] = server.archive.incarnations()
        before = len(incarnation.wal.segments())

        # A time just after the third backup: the third is the last one before the period.
        now = made[2].record.finished_at + timedelta(days=1, microseconds=1)
        purged = await purge(server.archive, Retention(keep=1, keep_days=1), now=now)

        assert purged.backups == [f"0001/{each.name}" for each in made[:2]]
        assert purged.wal_segments >= 4
        assert len(incarnation.wal.segments()) == before - purged.wal_segments
        assert [each.name for each in incarnation.backups()] == [each.name for each in made[2:]]
        assert (await purge(server.archive, Retention(keep=1, keep_days=1), now=now)).backups == []

        await server.insert(4)
        await server.destroy()
        restored = await server.restore(to=moment)
        assert restored.backup.name == made[3].name
        # The new incarnation counts only with its own backups; the older one stays while a backup of it is needed.
        assert (await purge(server.archive, Retention(keep=2))).backups == [f"0001/{made[2].name}"]
        assert [each.name for each in server.archive.incarnations()] == ["0001", "0002"]
        assert (await purge(server.archive, Retention(keep=1))).incarnations == ["0001"]
        await server.start()
        await server.insert(5)
        await server.archived()
        await server.destroy()
        await server.restore()
        await server.start()
        assert await server.values() == [0, 1, 2, 3, 5]


async def test_the_last_verified_backup_stays_whatever_its_age() -> None:
    async with archived_server() as server:
        made = await back_up(server.server)
        in_ten_years = datetime.now(UTC) + timedelta(days=3650)

        purged = await purge(server.archive, Retention(keep=1, keep_days=1), now=in_ten_years)

        assert purged.backups == []
        assert server.archive.incarnations()[0].verified_backups() == [made]

"""The scheduler takes base backups when they are due, tries again after failures, and exports what it knows."""

import asyncio
import math
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
from prometheus_client.parser import text_string_to_metric_families

from deploy.backup.base_backup import back_up
from deploy.local.ports import free_port
from tests.deploy.backup.archived_server import ArchivedServer, archived_server
from tests.harness.waiting import until


class Page:
    """The page /metrics of a scheduler."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/metrics"

    async def read(self) -> dict[str, float]:
        """Return each metric of the service, with the step of a failure."""
        async with httpx2.AsyncClient() as client:
            try:
                text = (await client.get(self.url)).text
            except httpx2.TransportError:
                # It is still starting, or the machine is busy.
                return {}
        return {
            ".".join([sample.name, *sample.labels.values()]).replace(".shop", ""): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    async def until(self, **wanted: float) -> dict[str, float]:
        """Wait until metrics have at least these values, and return all."""
        page: dict[str, float] = {}

        async def shows() -> bool:
            nonlocal page
            page = await self.read()
            return all(page.get(name.replace("__", "."), -1) >= value for name, value in wanted.items())

        await until(shows, what=f"the page shows {wanted}, not {page}")
        return page


async def test_the_scheduler_backs_up_at_once_then_when_due_and_exports_what_it_knows() -> None:
    async with archived_server() as server:
        async with _scheduler(server, every_hours=24) as page:
            seen = await page.until(wal_archive_connected=1, backup_failures_total__backup=0)
            await until(lambda: _has_backups(server, 1), what="the first base backup")

            async def is_exported() -> bool:
                nonlocal seen
                seen = await page.read()
                # On a busy machine, the backup's own WAL takes a moment to be archived.
                return seen.get("backup_age_seconds", math.inf) < math.inf and seen["wal_archive_lag_bytes"] == 0

            await until(is_exported, what="the age of the base backup, and no WAL that is not archived")
            [backup] = server.archive.incarnations()[0].backups()
            assert seen["backup_size_bytes"] == backup.record.size_bytes
            assert seen["backup_verified_timestamp_seconds"] == backup.record.verified_at.timestamp()
            assert seen["wal_archive_slot_lost"] == 0
            assert seen["wal_archive_lag_seconds"] < 60
            assert 0 < seen["archive_disk_free_bytes"] < seen["archive_disk_size_bytes"]
        # A second later another one is due, and the first is no longer kept.
        async with _scheduler(server, every_hours=1 / 3600):

            async def was_replaced() -> bool:
                backups = server.archive.incarnations()[0].backups()
                return len(backups) == 1 and backups[0].name != backup.name

            await until(was_replaced, what="the next base backup replaces the first")


async def test_a_server_that_is_away_counts_as_failures_and_is_tried_again() -> None:
    async with archived_server() as server:
        await back_up(server.server)
        await server.stop()
        async with _scheduler(server, every_hours=1 / 3600) as page:
            seen = await page.until(backup_failures_total__backup=1, backup_failures_total__measure=1)
            assert seen["wal_archive_connected"] == 0
            # The base backup that exists is still restorable, and ages.
            assert 0 < seen["backup_age_seconds"] < 600
            await server.start()
            await until(lambda: _has_new_backup(server), what="the base backup is tried again")


async def _has_backups(server: ArchivedServer, number: int) -> bool:
    return len(server.archive.incarnations()[0].backups()) == number


async def _has_new_backup(server: ArchivedServer) -> bool:
    [backup] = server.archive.incarnations()[0].backups()[-1:]
    return server.process is not None and backup.record.started_at.timestamp() > server.started_at


@asynccontextmanager
async def _scheduler(server: ArchivedServer, *, every_hours: float) -> AsyncIterator[Page]:
    port = free_port()
    variables = {
        "BACKUP_EVERY_HOURS": str(every_hours),
        "BACKUP_KEEP": "1",
        "BACKUP_METRICS_PORT": str(port),
        "BACKUP_INITIAL_RETRY_SECONDS": "0.2",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "deploy.backup",
        "serve",
        env={"PATH": os.environ["PATH"], **server.environment, **variables},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Page(port)
    finally:
        process.send_signal(signal.SIGTERM)
        output, _ = await process.communicate()
    assert process.returncode == 0
    assert output.count(b'"backup_scheduler_stopped"') == 1

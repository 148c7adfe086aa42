"""Take base backups on a schedule, purge old ones, verify those that stay, and measure the archive's lag."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog

from deploy.backup.archive import BaseBackup
from deploy.backup.base_backup import back_up, verify
from deploy.backup.errors import BackupError
from deploy.backup.lag import measure
from deploy.backup.metrics import BackupMetrics
from deploy.backup.retention import Retention, purge
from deploy.backup.server import Server

MEASURE_SECONDS = 15.0
MAX_RETRY_SECONDS = 1800.0
CHECK_SECONDS = 60.0
"""Time between two looks at the archive: an operator or a restore may have changed it."""

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The time between two base backups, and how much is kept."""

    every: timedelta
    initial_retry_seconds: float
    retention: Retention


class Scheduler:
    """Keeps one server's archive restorable. What fails is tried again, with backoff."""

    def __init__(self, server: Server, schedule: Schedule, metrics: BackupMetrics) -> None:
        self._server = server
        self._schedule = schedule
        self._metrics = metrics

    async def run(self) -> None:
        """Run until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._measure())
            group.create_task(self._back_up())

    async def _measure(self) -> None:
        service = self._server.service
        while True:
            try:
                self._metrics.measured(service, await measure(self._server.access))
            except BackupError as error:
                self._metrics.measured(service, None)
                self._metrics.failures.labels(service, "measure").inc()
                log.warning("wal_archive_not_measured", service=service, error=str(error))
            await asyncio.sleep(MEASURE_SECONDS)

    async def _back_up(self) -> None:
        delay_seconds = self._schedule.initial_retry_seconds
        while True:
            newest = self.newest()
            self._metrics.newest(self._server.service, newest)
            if self.is_due(newest):
                if not await self._step("backup", self._take):
                    await asyncio.sleep(delay_seconds)
                    delay_seconds = min(delay_seconds * 2, MAX_RETRY_SECONDS)
                    continue
                delay_seconds = self._schedule.initial_retry_seconds
                await self._step("purge", self._purge)
                await self._step("verify", self._verify_oldest)
                self._metrics.newest(self._server.service, self.newest())
            await asyncio.sleep(min(CHECK_SECONDS, self._schedule.every.total_seconds()))

    def newest(self) -> BaseBackup | None:
        """Return the newest verified base backup of the current incarnation."""
        current = self._server.archive.current()
        return next(reversed(current.verified_backups()), None) if current else None

    def is_due(self, newest: BaseBackup | None) -> bool:
        """Return whether a base backup is due: after the interval, and at once in a new incarnation."""
        return newest is None or datetime.now(UTC) - newest.record.finished_at >= self._schedule.every

    async def _step(self, step: str, action: Callable[[], Awaitable[None]]) -> bool:
        """Return whether an action succeeded."""
        try:
            await action()
        except (BackupError, OSError) as error:
            self._metrics.failures.labels(self._server.service, step).inc()
            log.error("backup_step_failed", service=self._server.service, step=step, error=str(error))
            return False
        return True

    async def _take(self) -> None:
        backup = await back_up(self._server)
        log.info(
            "base_backup_taken",
            service=self._server.service,
            backup=backup.name,
            size_bytes=backup.record.size_bytes,
        )

    async def _purge(self) -> None:
        purged = await purge(self._server.archive, self._schedule.retention)
        log.info(
            "backups_purged",
            service=self._server.service,
            backups=purged.backups,
            incarnations=purged.incarnations,
            wal_segments=purged.wal_segments,
        )

    async def _verify_oldest(self) -> None:
        """Verify the base backup again whose last verification is longest ago: disks lose bits."""
        archive = self._server.archive
        verified = [each for incarnation in archive.incarnations() for each in incarnation.verified_backups()]
        with archive.locked():
            checked = await verify(min(verified, key=lambda each: each.record.verified_at), log=archive.log)
        if not checked.is_verified:
            raise BackupError(f"Base backup {checked.name} of {self._server.service} is damaged")


def hours(number: float) -> timedelta:
    """Return hours as a time span of at least a second."""
    return timedelta(seconds=max(math.ceil(number * 3600), 1))

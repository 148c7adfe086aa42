"""One round of the drill: destroy databases under load, restore them, go on, and look at what has become of them."""

import asyncio
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property

from deploy.backup.base_backup import back_up
from deploy.backup.local import archive_program, backup_settings
from deploy.backup.restore import restore
from deploy.backup.server import Server
from deploy.local.credentials import Credentials
from deploy.local.databases import postgres_of
from deploy.local.postgres import server_of
from deploy.local.settings import LocalSettings
from deploy.local.supervisor import Supervisor
from tests.drill.commits import Commit, Commits

AFTER_BACKUP_SECONDS = 5.0
"""Time under load between a base backup and the destruction: the archive's WAL has to bring back what came after."""
AFTER_RESTORE_SECONDS = 5.0
"""Time under load after the restore."""
RESTORED_TIMEOUT_SECONDS = 120.0


@dataclass(frozen=True, kw_only=True)
class RestoredDatabase:
    """The result for one database."""

    service: str
    recovery_point_seconds: float
    """Time between the last acknowledged commit before the end, or the time that was asked for, and what is left."""
    lost_commits: int
    """Commits that were acknowledged, or that were acknowledged before the time that was asked for, and are gone."""
    surplus_commits: int
    """Commits of after the time that was asked for."""
    recovery_seconds: float
    """Time from the destruction to the first commit in the restored database."""


@dataclass(frozen=True, kw_only=True)
class Round:
    """The result of one round."""

    services: Sequence[str]
    back_seconds: float
    """Age of the restored state at the end; 0 for the newest state."""
    databases: Sequence[RestoredDatabase]

    @property
    def name(self) -> str:
        """The destroyed databases and the restored state."""
        state = f"{self.back_seconds:.0f} s before the end" if self.back_seconds else "newest state"
        return f"{', '.join(self.services)}: {state}"

    @property
    def violations(self) -> list[str]:
        """The commits that the restored databases lack, or have too many of."""
        return [
            f"{self.name}: {each.service} has lost {each.lost_commits} commits and has {each.surplus_commits} too many"
            for each in self.databases
            if each.lost_commits or each.surplus_commits
        ]


@dataclass(frozen=True)
class Drill:
    """The running system, and what commits in its databases."""

    settings: LocalSettings
    credentials: Credentials
    supervisor: Supervisor
    commits: dict[str, Commits]

    @cached_property
    def servers(self) -> dict[str, Server]:
        """The servers with their archives, by service."""
        return {server.service: server for server in backup_settings(self.settings).chosen(None)}

    async def round(self, services: Sequence[str], *, back_seconds: float = 0.0) -> Round:
        """Back up, go on, destroy, restore, and go on."""
        for service in services:
            await back_up(self.servers[service])
        await asyncio.sleep(AFTER_BACKUP_SECONDS + back_seconds)
        for service in services:
            self.commits[service].let_go()
        destroyed_at = time.monotonic()
        target = datetime.now(UTC) - timedelta(seconds=back_seconds) if back_seconds else None
        await asyncio.gather(*(self._destroy(service) for service in services))
        before = {service: list(self.commits[service].acknowledged) for service in services}
        for service in services:
            await restore(self.servers[service], to=target)
        # All of them first: a service that goes on alone would meet the lost events of the others.
        await asyncio.gather(*(self._start(service) for service in services))
        databases = [
            await self._result(service, before[service], target=target, destroyed_at=destroyed_at)
            for service in services
        ]
        await asyncio.sleep(AFTER_RESTORE_SECONDS)
        return Round(services=services, back_seconds=back_seconds, databases=databases)

    async def _destroy(self, service: str) -> None:
        """Kill the server, and delete its data."""
        await self.supervisor.stop_one(server_of(service), kill=True)
        await self.supervisor.stop_one(f"{service}-archive")
        await asyncio.to_thread(shutil.rmtree, self.settings.postgres_data_of(service))

    async def _start(self, service: str) -> None:
        postgres = postgres_of(service, settings=self.settings, credentials=self.credentials)
        await self.supervisor.start(postgres.program())
        receiver = await archive_program(service, postgres, settings=self.settings)
        if receiver is not None:
            await self.supervisor.start(receiver)

    async def _result(
        self, service: str, acknowledged: Sequence[Commit], *, target: datetime | None, destroyed_at: float
    ) -> RestoredDatabase:
        """Compare what is left with what was acknowledged, and let the commits go on."""
        commits = self.commits[service]
        last = await commits.last()
        commits.resume()
        async with asyncio.timeout(RESTORED_TIMEOUT_SECONDS):
            await commits.first_acknowledged()
        recovery_seconds = time.monotonic() - destroyed_at
        wanted = [each for each in acknowledged if target is None or each.at <= target]
        lost = [each for each in wanted if last is None or each.id > last.id]
        if target is not None and len(lost) == 1:
            # A row gets its time before its commit: the last one of before that time may have committed after it.
            lost = []
        surplus = [each for each in acknowledged if each not in wanted and last is not None and each.id <= last.id]
        end = target or wanted[-1].at
        return RestoredDatabase(
            service=service,
            recovery_point_seconds=max(0.0, (end - last.at).total_seconds()) if last else float("inf"),
            lost_commits=len(lost),
            surplus_commits=len(surplus),
            recovery_seconds=recovery_seconds,
        )

"""The steps of a campaign: to the new version, back to the old code, and forward again, while the load goes on."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from deploy.local.credentials import SERVICES
from tests.chaos.upgrade.instances import Instances
from tests.chaos.upgrade.traffic import Traffic, Work
from tests.chaos.upgrade.versions import VersionName

SECONDS_ALONE = (3.0, 6.0)
"""Time for which one version serves alone."""
SECONDS_TOGETHER = (2.0, 5.0)
"""Time for which both versions of a service serve. The consumer group gives the new member partitions meanwhile."""
KILL_SHARE = 0.4
"""The share of processes that are killed instead of stopped."""
MIGRATE_FIRST_SHARE = 0.4
"""The share of campaigns that migrate all databases before any new code starts."""


@dataclass(kw_only=True)
class Step:
    """A step, and the work that each version did in it."""

    name: str
    started_at: datetime
    seconds: float
    work: Work


@dataclass
class Rollout:
    """Carries the steps out; `rng` chooses the order of the services, the pauses and how processes end."""

    instances: Instances
    traffic: Traffic
    rng: random.Random
    steps: list[Step] = field(default_factory=list)
    effects: Counter[str] = field(default_factory=Counter)

    async def run(self) -> None:
        """Carry out every step."""
        # What the system did while it was set up belongs to no step.
        await self.traffic.read()
        await self._alone("old version")
        await self._upgrade(self._shuffled())
        await self._alone("new version")
        for service in self._shuffled():
            async with self._step(f"{service}: back to the old code"):
                # A deployment of the old version runs its migrations too, on the newer schema.
                await self._migrate(service, "old")
                await self._replace(service, before="new", after="old")
        await self._alone("old code on the new schema")
        async with self._step("forward again"):
            await asyncio.gather(*(self._replace(service, before="old", after="new") for service in self._shuffled()))
        await self._alone("new version again")

    async def _upgrade(self, services: Sequence[str]) -> None:
        migrates_first = self.rng.random() < MIGRATE_FIRST_SHARE
        for service in services if migrates_first else ():
            await self._migrate_under_load(service)
        for service in services:
            if not migrates_first:
                await self._migrate_under_load(service)
            async with self._step(f"{service}: to the new version"):
                await self._replace(service, before="old", after="new")

    async def _migrate_under_load(self, service: str) -> None:
        async with self._step(f"{service}: migrations"):
            await self._migrate(service, "new")
            await asyncio.sleep(self.rng.uniform(0, 2))

    async def _migrate(self, service: str, version: VersionName) -> None:
        self.effects["migrations killed and run again"] += await self.instances.migrate(service, version, self.rng)

    async def _replace(self, service: str, *, before: VersionName, after: VersionName) -> None:
        """Start one version beside the other, let both serve, and end the other one."""
        await self.instances.start(service, after)
        await asyncio.sleep(self.rng.uniform(*SECONDS_TOGETHER))
        kill = self.rng.random() < KILL_SHARE
        self.effects["processes killed at the end" if kill else "processes stopped"] += 1
        await self.traffic.read()
        await self.instances.stop(service, before, kill=kill)

    async def _alone(self, name: str) -> None:
        async with self._step(name):
            await asyncio.sleep(self.rng.uniform(*SECONDS_ALONE))

    def _shuffled(self) -> list[str]:
        return self.rng.sample(SERVICES, k=len(SERVICES))

    @asynccontextmanager
    async def _step(self, name: str) -> AsyncIterator[None]:
        """Record how long a step takes and what each version does in it."""
        loop = asyncio.get_running_loop()
        started_at, started, before = datetime.now(UTC), loop.time(), self.traffic.work.copy()
        yield
        await self.traffic.read()
        seconds = round(loop.time() - started, 1)
        self.steps.append(Step(name=name, started_at=started_at, seconds=seconds, work=self.traffic.work - before))

"""Samples of the databases while a campaign is under way: the invariants of credit and stock hold at any moment."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import asyncpg

from deploy.demo.cross_service_invariants import Databases
from deploy.demo.invariants import INVARIANTS, Finding, connected

INTERVAL_SECONDS = 0.2
NOT_SAMPLED = frozenset({"No event is a dead letter", "No key has a gap in its events"})
"""Hostile records make dead letters on purpose, and the search for gaps reads every event that was sent."""
SAMPLED = [one for one in INVARIANTS if not one.at_rest and one.name not in NOT_SAMPLED]


@dataclass
class Sampler:
    """Checks the invariants several times a second. A database that is unavailable is sampled when it is back."""

    databases: Mapping[str, str]
    began: float
    """The monotonic time at which the campaign began."""
    taken: int = 0
    """The number of samples."""
    first_seen: dict[tuple[str, str], float] = field(default_factory=dict)
    """Each violation, by its invariant and its sentence, and the seconds from the campaign's beginning to it."""

    async def run(self) -> None:
        """Take samples until cancelled."""
        while True:
            try:
                async with connected(self.databases) as databases:
                    while True:
                        self._add(await sample(databases))
                        await asyncio.sleep(INTERVAL_SECONDS)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await asyncio.sleep(INTERVAL_SECONDS)

    def violations(self) -> list[str]:
        """Return what was violated, with the time of the first sample that found it."""
        return [f"{name}: {found} (at {seconds:.1f} s)" for (name, found), seconds in self.first_seen.items()]

    def _add(self, findings: Sequence[Finding]) -> None:
        self.taken += 1
        for finding in findings:
            for violation in finding.violations:
                self.first_seen.setdefault((finding.name, violation), time.monotonic() - self.began)


async def sample(databases: Databases) -> list[Finding]:
    """Check each invariant once, in one snapshot of each database."""
    async with AsyncExitStack() as stack:
        for connection in databases.values():
            snapshot = connection.transaction(isolation="repeatable_read", readonly=True)
            await stack.enter_async_context(snapshot)
        return [Finding(invariant.name, await invariant.find(databases)) for invariant in SAMPLED]

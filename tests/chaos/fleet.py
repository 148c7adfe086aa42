"""The workers of a campaign: two of each role, started again whenever they end, until they are told to rest."""

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from itertools import count

from tests.chaos.nursery import Worker
from tests.chaos.worker import Plan

ROLES = ("writer", "relay", "consumer")
RESTART_SECONDS = 0.3
POLL_SECONDS = 0.1


class Fleet:
    """`plan_of(role)` is what its workers do; each start gets a seed of its own, so that no operation comes twice."""

    def __init__(self, plan: Plan, *, of_each: int = 2) -> None:
        self.restarts = 0
        self.workers: dict[str, Worker] = {}
        self._plan = plan
        self._names = [f"{role}-{number}" for role in ROLES for number in range(1, of_each + 1)]
        self._starts = count()
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._failpoints: dict[str, str] = {}

    def start(self) -> None:
        """Start all, and keep them running."""
        for name in self._names:
            self._keepers[name] = asyncio.create_task(self._keep(name))

    async def stop(self, role: str | None = None) -> None:
        """For good: those of one role, or all."""
        names = [name for name in self._keepers if role is None or name.startswith(role)]
        for name in names:
            self._keepers.pop(name).cancel()
        await asyncio.gather(*(self.workers.pop(name).stop() for name in names if name in self.workers))

    def pids(self, role: str) -> list[int]:
        """Of the workers of a role that are alive."""
        return [worker.pid for name, worker in self.workers.items() if name.startswith(role) and worker.is_alive]

    def kill(self, pid: int, *, failpoints: str = "") -> None:
        """End a worker as a crash would; its successor may be given failpoints."""
        for name, worker in self.workers.items():
            if worker.is_alive and worker.pid == pid:
                self._failpoints[name] = failpoints
                os.kill(pid, signal.SIGKILL)

    def wake_all(self) -> None:
        """Whatever was stopped goes on."""
        for worker in self.workers.values():
            with suppress(ProcessLookupError):
                os.kill(worker.pid, signal.SIGCONT)

    async def _keep(self, name: str) -> None:
        while True:
            role = name.partition("-")[0]
            plan = replace(
                self._plan,
                name=name,
                roles=frozenset({role}),
                seed=self._plan.seed * 1_000 + next(self._starts),
                failpoints=self._failpoints.pop(name, ""),
            )
            worker = self.workers[name] = Worker(plan)
            await _gone(lambda worker=worker: not worker.is_alive)  # type: ignore[misc]  # bound on purpose
            self.restarts += 1
            await asyncio.sleep(RESTART_SECONDS)


async def _gone(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - a forked process tells nobody when it ends
        await asyncio.sleep(POLL_SECONDS)

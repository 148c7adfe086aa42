"""The worker processes as a campaign or a test sees them: one worker, and a pool that restarts its workers."""

import asyncio
import os
import signal
from contextlib import suppress
from dataclasses import replace
from itertools import count

from tests.chaos.forked_process import ForkedProcess, becomes_true, preload
from tests.chaos.worker import Plan, main

ROLES = ("writer", "relay", "consumer")
WORKERS_PER_ROLE = 2
RESTART_DELAY_SECONDS = 0.3
POLL_SECONDS = 0.1

preload("tests.chaos.worker", "tests.chaos.mail_worker")


class Worker(ForkedProcess):
    """A worker process that runs a plan."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(main, plan)
        self.plan = plan

    async def finishes_within(self, seconds: float) -> bool:
        """Wait until its writer has carried out all operations; return False if it has not after `seconds`."""
        return await becomes_true(self.plan.finished.exists, seconds)


class WorkerPool:
    """Two workers of each role, restarted when they exit. Each start has another seed, so no operation repeats."""

    def __init__(self, plan: Plan) -> None:
        self.restarts = 0
        self.workers: dict[str, Worker] = {}
        self._plan = plan
        self._names = [f"{role}-{number}" for role in ROLES for number in range(1, WORKERS_PER_ROLE + 1)]
        self._starts = count()
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._failpoints: dict[str, str] = {}

    def start(self) -> None:
        """Start all workers."""
        for name in self._names:
            self._keepers[name] = asyncio.create_task(self._keep_running(name))

    async def stop(self, role: str | None = None) -> None:
        """Stop the workers of one role, or all, and restart them no more."""
        names = [name for name in self._keepers if role is None or name.startswith(role)]
        for name in names:
            self._keepers.pop(name).cancel()
        await asyncio.gather(*(self.workers.pop(name).stop() for name in names if name in self.workers))

    def pids(self, role: str) -> list[int]:
        """Return the process ids of the role's workers that are alive."""
        return [worker.pid for name, worker in self.workers.items() if name.startswith(role) and worker.is_alive]

    def kill(self, pid: int, *, failpoints: str = "") -> None:
        """Kill a worker with SIGKILL; the worker that replaces it runs with `failpoints`."""
        for name, worker in self.workers.items():
            if worker.is_alive and worker.pid == pid:
                self._failpoints[name] = failpoints
                os.kill(pid, signal.SIGKILL)

    def resume_all(self) -> None:
        """Continue every suspended worker."""
        for worker in self.workers.values():
            with suppress(ProcessLookupError):
                worker.resume()

    async def _keep_running(self, name: str) -> None:
        while True:
            plan = replace(
                self._plan,
                name=name,
                roles=frozenset({name.partition("-")[0]}),
                seed=self._plan.seed * 1_000 + next(self._starts),
                failpoints=self._failpoints.pop(name, ""),
            )
            worker = self.workers[name] = Worker(plan)
            while worker.is_alive:  # noqa: ASYNC110 - a forked process sends no event when it exits
                await asyncio.sleep(POLL_SECONDS)
            self.restarts += 1
            await asyncio.sleep(RESTART_DELAY_SECONDS)

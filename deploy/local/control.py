"""The actions of the control socket: the state of the processes, their start and stop, faults and the comparison."""

import asyncio
import os
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from deploy.faults.catalogue import FAULTS
from deploy.faults.log import FaultLog
from deploy.faults.target import Target
from deploy.local.control_protocol import (
    ComparisonRequest,
    ComparisonStatus,
    ControlError,
    FaultRequest,
    FaultsRequest,
    ProcessRequest,
    ProcessStatus,
    Request,
    StartComparisonRequest,
    StatusRequest,
    StopRequest,
    SuspendRequest,
    SystemStatus,
)
from deploy.local.dependencies import needs_of
from deploy.local.lifecycle import Lifecycle, State
from deploy.local.memory import memory_of_process, memory_of_tree
from deploy.local.process import StartFailed

_RUNNING = (State.STARTING, State.READY, State.RESTARTING, State.SUSPENDED)


class Comparisons(Protocol):
    """Runs a wrong build beside the right one."""

    @property
    def build(self) -> str | None:
        """The wrong build that runs; None if none does."""

    def start(self, request: StartComparisonRequest) -> ComparisonStatus:
        """Begin to start it. Raises: ControlError."""

    def status(self) -> ComparisonStatus:
        """Return how it stands. Raises: ControlError if there was none."""

    async def stop(self) -> ComparisonStatus:
        """Stop it and drop its data. Raises: ControlError if there was none."""

    async def close(self) -> None:
        """Stop it if it runs."""


class Control:
    """Handles the requests of the control socket. Changes of one process come one after the other."""

    def __init__(
        self,
        target: Target,
        *,
        comparisons: Comparisons,
        started_at: datetime,
        is_ready: Callable[[], bool],
    ) -> None:
        self._target = target
        self._supervisor = target.supervisor
        self._faults = FaultLog(target)
        self._comparisons = comparisons
        self._started_at = started_at
        self._is_ready = is_ready
        self._locks: dict[str, asyncio.Lock] = {}
        self._is_stopping = False
        self._changes: set[asyncio.Task[object]] = set()

    async def handle(self, request: Request) -> object:
        """Do what a request asks for. Raises: ControlError."""
        match request:
            case StatusRequest():
                return await self.status()
            case FaultsRequest():
                return [fault.describe() for fault in FAULTS.values()]
            case ComparisonRequest(action="comparison"):
                return self._comparisons.status()
        if self._is_stopping:
            raise ControlError("stopping", "The system is stopping.")
        change = asyncio.ensure_future(self._change(request))
        self._changes.add(change)
        try:
            return await change
        finally:
            self._changes.discard(change)

    async def stop(self) -> None:
        """Refuse changes from now on, end those that are under way, and whatever a fault has left behind."""
        self._is_stopping = True
        for change in self._changes:
            change.cancel()
        await asyncio.gather(*self._changes, return_exceptions=True)
        await self._comparisons.close()
        await self._target.close()

    async def status(self) -> SystemStatus:
        """Return the state of every process."""
        names = list(self._supervisor.lifecycles)
        # Reading the memory of thirty processes takes a moment, in which the event loop has work to do.
        memory = await asyncio.to_thread(self._memory, self._pids())
        memory["supervisor"] = await asyncio.to_thread(memory_of_process, os.getpid())
        processes = [self._process(name, memory.get(name, 0)) for name in names]
        return SystemStatus(
            ready=self._is_ready(),
            started_at=self._started_at,
            supervisor_pid=os.getpid(),
            memory_bytes=sum(memory.values()),
            processes=processes,
            faults=self._faults.reports(),
            comparison=self._comparisons.build,
        )

    async def _change(self, request: Request) -> object:
        match request:
            case FaultRequest(fault=fault, parameters=parameters):
                return await self._faults.inject(fault, parameters)
            case StartComparisonRequest():
                return self._comparisons.start(request)
            case ComparisonRequest():
                return await self._comparisons.stop()
            case ProcessRequest(process=process) | StopRequest(process=process) | SuspendRequest(process=process):
                self._lifecycle(process)
                async with self._locks.setdefault(process, asyncio.Lock()):
                    await self._change_process(request, process)
                memory = await asyncio.to_thread(self._memory, self._pids(process))
                return self._process(process, memory.get(process, 0))
        raise ControlError("bad_request", f"{request.action} is not known.")

    async def _change_process(self, request: Request, process: str) -> None:
        match request:
            case StopRequest(force=force):
                await self._stop(process, force=force)
            case SuspendRequest(seconds=seconds):
                self._target.pid_of(process)
                self._supervisor.suspend(process, seconds=seconds)
            case ProcessRequest(action="start"):
                await self._start(process)
            case ProcessRequest(action="restart"):
                self._check_needs(process)
                if process in self._supervisor.children:
                    await self._supervisor.stop_one(process)
                await self._start(process)
            case ProcessRequest(action="kill"):
                self._target.pid_of(process)
                self._supervisor.kill(process)
                await self._until_ended(process)
            case ProcessRequest(action="resume"):
                if self._lifecycle(process).state is not State.SUSPENDED:
                    raise ControlError("wrong_state", f"{process} is not suspended.")
                self._supervisor.resume(process)

    async def _stop(self, process: str, *, force: bool) -> None:
        if process not in self._supervisor.children:
            raise ControlError("wrong_state", f"{process} is not running.")
        dependents = [
            name
            for name, lifecycle in self._supervisor.lifecycles.items()
            if lifecycle.state in _RUNNING and process in needs_of(name)
        ]
        if dependents and not force:
            names = ", ".join(dependents)
            raise ControlError("needed", f"{names} need {process}. Stop them first, or force it: they will report it.")
        await self._supervisor.stop_one(process)

    async def _start(self, process: str) -> None:
        lifecycle = self._lifecycle(process)
        if process in self._supervisor.children:
            raise ControlError("wrong_state", f"{process} is {lifecycle.state} already.")
        self._check_needs(process)
        try:
            await self._supervisor.start(lifecycle.program)
        except StartFailed as failure:
            raise ControlError("failed", str(failure)) from failure
        # The program is the usual one again.
        await self._target.remove_proxy(process)

    def _check_needs(self, process: str) -> None:
        known = self._supervisor.lifecycles
        missing = [name for name in needs_of(process) if name in known and known[name].state not in _RUNNING]
        if missing:
            raise ControlError("needs", f"{process} needs {', '.join(missing)}: start that first.")

    async def _until_ended(self, process: str) -> None:
        """Wait a moment until a killed process has ended, so that the answer shows it."""
        lifecycle = self._lifecycle(process)
        for _ in range(50):
            if lifecycle.state not in {State.READY, State.STARTING, State.SUSPENDED}:
                return
            await asyncio.sleep(0.02)

    def _lifecycle(self, process: str) -> Lifecycle:
        lifecycle = self._supervisor.lifecycles.get(process)
        if lifecycle is None:
            known = ", ".join(sorted(self._supervisor.lifecycles))
            raise ControlError("unknown_process", f"There is no process {process}. Known are: {known}.")
        return lifecycle

    def _pids(self, only: str | None = None) -> dict[str, int]:
        return {
            name: child.process.pid
            for name, child in list(self._supervisor.children.items())
            if child.process.exit_status is None and only in {None, name}
        }

    @staticmethod
    def _memory(pids: dict[str, int]) -> dict[str, int]:
        return {name: memory_of_tree(pid) for name, pid in pids.items()}

    def _process(self, name: str, memory_bytes: int) -> ProcessStatus:
        lifecycle = self._lifecycle(name)
        child = self._supervisor.children.get(name)
        runs = child is not None and child.process.exit_status is None
        program = lifecycle.program
        return ProcessStatus(
            name=name,
            state=lifecycle.state,
            pid=child.process.pid if child is not None and runs else None,
            memory_bytes=memory_bytes,
            restarts=lifecycle.restarts,
            started_at=lifecycle.started_at if runs else None,
            suspended_until=lifecycle.suspended_until,
            last_exit=lifecycle.last_exit,
            address=program.address,
            notes=program.notes,
            log_file=str(self._supervisor.log_of(name)),
            needs=[need for need in needs_of(name) if need in self._supervisor.lifecycles],
            events=list(lifecycle.events),
        )

"""The system that the demo uses: the running one, or one that the demo starts and stops itself."""

import asyncio
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.demo.mails import mails_of_catcher
from deploy.demo.target import Memory, ReceivedMail
from deploy.local.credentials import SERVICES
from deploy.local.memory import memory_of_system
from deploy.local.process import LocalError, Process, Program, start_process
from deploy.local.screen import Screen
from deploy.local.settings import LocalSettings
from deploy.local.state import CHECKOUT, admin_password_of, read_state, running_pid

START_TIMEOUT_SECONDS = 300
"""The first start on a machine downloads Kafka."""


@dataclass(frozen=True, kw_only=True)
class RunningSystem:
    """The addresses and secrets of a running system. What changes while it runs is read from its state file."""

    folder: Path
    gateway_url: str
    mail_url: str
    databases: dict[str, str]
    admin_password: str

    @classmethod
    def from_state(cls, folder: Path, state: dict[str, Any]) -> "RunningSystem":
        """Build it from the content of the state file in `folder`."""
        return cls(
            folder=folder,
            gateway_url=state["urls"]["gateway"],
            mail_url=state["urls"]["mail"],
            databases=state["databases"],
            admin_password=admin_password_of(state),
        )

    async def received_mails(self, *, run: str) -> Sequence[ReceivedMail]:
        """Return the mails to the addresses of one run, the oldest first."""
        return await mails_of_catcher(self.mail_url, run=run)

    def kill(self, service: str) -> int:
        """Kill a service, as a crash would. Return the pid that it had."""
        pid: int = self._state()["processes"][service]["pid"]
        os.kill(pid, signal.SIGKILL)
        return pid

    def restarts(self) -> Counter[str]:
        """Return how often each process was restarted since the system was started."""
        return Counter({name: process["restarts"] for name, process in self._state()["processes"].items()})

    def memory(self) -> Memory:
        """Return the memory that the system uses now, the supervisor included."""
        by_name = memory_of_system(self._state())
        return Memory(total=sum(by_name.values()), services=sum(by_name[service] for service in SERVICES))

    def _state(self) -> dict[str, Any]:
        state = read_state(self.folder)
        if state is None:
            raise LocalError("The system has stopped.")
        return state


@asynccontextmanager
async def running_system(settings: LocalSettings, *, screen: Screen) -> AsyncIterator[RunningSystem]:
    """Yield the running system, or start one and stop it afterwards. Raises: LocalError."""
    own = None if running_pid(settings.folder) else await _start(settings, screen=screen)
    try:
        yield await _wait_until_ready(settings.folder, own=own)
    finally:
        if own is not None:
            await own.stop()


async def _start(settings: LocalSettings, *, screen: Screen) -> Process:
    async def holds_lock() -> bool:
        return running_pid(settings.folder) is not None

    screen.note("The system is not running. The demo starts it, and stops it at the end.")
    program = Program(
        name="system",
        command=[sys.executable, "-m", "deploy.local", "run"],
        environment={"PYTHONPATH": str(CHECKOUT)},
        ready=holds_lock,
        address="",
        # Its steps, notes and errors, but not what the services log.
        echo=re.compile("^  [✓!✗] "),
        stop_timeout_seconds=120,
        # If the demo is killed, the system still stops in order.
        orphan_signal=signal.SIGTERM,
    )
    process = await start_process(
        program,
        log=settings.logs / "system.log",
        echo=lambda _name, line: screen.console.print(line, markup=False, soft_wrap=True),
    )
    await process.wait_until_ready()
    return process


async def _wait_until_ready(folder: Path, *, own: Process | None) -> RunningSystem:
    deadline = asyncio.get_running_loop().time() + START_TIMEOUT_SECONDS
    while True:
        state = read_state(folder)
        if state is not None and state["ready"]:
            return RunningSystem.from_state(folder, state)
        if own is not None and own.exit_status is not None:
            raise LocalError("The system could not be started.")
        if asyncio.get_running_loop().time() > deadline:
            raise LocalError(f"The system was not ready after {START_TIMEOUT_SECONDS} s.")
        await asyncio.sleep(0.1)

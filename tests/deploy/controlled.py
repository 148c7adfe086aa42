"""A control socket over stand-in programs, for the tests of processes and faults."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from deploy.faults.target import Target
from deploy.local.control import Control
from deploy.local.control_client import ControlClient
from deploy.local.control_protocol import FaultReport, ProcessStatus
from deploy.local.control_server import ControlServer
from deploy.local.credentials import ensure_credentials
from deploy.local.services import Services
from deploy.local.settings import LocalSettings
from deploy.local.supervisor import Backoff, Supervisor
from deploy.wrong_builds.comparison import Comparison
from tests.deploy.stand_in_programs import program

DEADLINE_SECONDS = 60


@dataclass(kw_only=True)
class StandInTarget(Target):
    """A target whose databases are those of the test, by service."""

    urls: dict[str, str] = field(default_factory=dict)

    def admin_url(self, service: str) -> str:
        return self.urls[service]


@dataclass(frozen=True, kw_only=True)
class Controlled:
    """The socket, and what it controls."""

    client: ControlClient
    control: Control
    server: ControlServer
    target: StandInTarget
    folder: Path

    async def start(self, *names: str, **environments: dict[str, str]) -> None:
        """Start stand-ins with these names."""
        for name in names:
            options: dict[str, Any] = {"environment": environments.get(name, {}), "ready": self._is_written(name)}
            await self.target.supervisor.start(program(self.folder, name, **options))

    def _is_written(self, name: str) -> Callable[[], Awaitable[bool]]:
        """Return a check whether the present process handles its signals; an earlier one wrote the same file."""
        file, children = self.folder / f"{name}.pid", self.target.supervisor.children

        async def is_written() -> bool:
            return file.exists() and file.read_text() == str(children[name].process.pid)

        return is_written

    async def status_of(self, name: str) -> ProcessStatus:
        (found,) = [each for each in (await self.client.status()).processes if each.name == name]
        return found

    async def until(self, name: str, condition: Callable[[ProcessStatus], bool]) -> ProcessStatus:
        """Wait until the state of a process meets a condition, and return it."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not condition(found := await self.status_of(name)):  # noqa: ASYNC110 - processes send no events
                await asyncio.sleep(0.02)
        return found

    async def until_suspended(self, name: str) -> psutil.Process:
        """Wait until a process has handled SIGSTOP, and return it."""
        process = psutil.Process((await self.status_of(name)).pid)
        async with asyncio.timeout(DEADLINE_SECONDS):
            while process.status() != psutil.STATUS_STOPPED:  # noqa: ASYNC110 - processes send no events
                await asyncio.sleep(0.02)
        return process

    async def until_ended(self, report: FaultReport) -> FaultReport:
        """Wait until the effects of a fault are over, and return the report that says so."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while True:
                (found,) = [each for each in (await self.client.status()).faults if each.id == report.id]
                if found.ended_at is not None:
                    return found
                await asyncio.sleep(0.02)

    async def exchange(self, *lines: bytes) -> list[dict[str, Any]]:
        """Send lines over one connection, and return the answers."""
        reader, writer = await asyncio.open_unix_connection(str(self.server.path))
        writer.writelines(line + b"\n" for line in lines)
        answers = [json.loads(await reader.readline()) for _ in lines]
        writer.close()
        await writer.wait_closed()
        return answers


@asynccontextmanager
async def controlled(
    folder: Path, *, kafka: str = "127.0.0.1:1", socket_folder: Path | None = None
) -> AsyncIterator[Controlled]:
    """Serve the control socket of a system without processes."""
    supervisor = Supervisor(
        logs=folder / "logs",
        report=lambda _text: None,
        echo=lambda _name, _line: None,
        on_change=lambda: None,
        backoff=Backoff(initial_seconds=0.2, max_seconds=0.2),
    )
    settings = LocalSettings(folder=folder, audit="off", console="off")
    credentials = ensure_credentials(folder / "secrets")
    services = Services(settings=settings, credentials=credentials, kafka_bootstrap_servers=kafka)
    target = StandInTarget(supervisor=supervisor, settings=settings, credentials=credentials, services=lambda: services)
    control = Control(target, comparisons=Comparison(target), started_at=datetime.now(UTC), is_ready=lambda: True)
    server = ControlServer(socket_folder or folder, control.handle)
    await server.open()
    try:
        yield Controlled(
            client=ControlClient(server.path), control=control, server=server, target=target, folder=folder
        )
    finally:
        await control.stop()
        await supervisor.stop([])
        await server.close()


def events_of(process: ProcessStatus) -> Sequence[str]:
    """Return the names of a process's last events."""
    return [each.event for each in process.events]

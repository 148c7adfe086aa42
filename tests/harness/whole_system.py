"""All of `make run` for one campaign or benchmark: on free ports, in a folder of its own, on a given Kafka."""

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from deploy.demo.system import RunningSystem
from deploy.local.ports import free_port
from deploy.local.screen import Screen
from deploy.local.services import Services
from deploy.local.settings import LocalSettings
from deploy.local.state import read_state, single_instance
from deploy.local.system import System
from tests.harness.supervised_servers import SupervisedProcesses


@dataclass(frozen=True)
class WholeSystem:
    """The running system. `screen` writes what the system reports to a file."""

    running: RunningSystem
    processes: SupervisedProcesses
    screen: Screen


def settings_on_free_ports(folder: Path, *, kafka: str, **settings: Any) -> LocalSettings:
    """Return settings of a system that meets no other one on this machine. Nobody restores or audits its databases."""
    ports = {name: free_port() for name in LocalSettings.model_fields if name.endswith("_port")}
    own = {
        "folder": folder,
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "wal_archive": "off",
        "audit": "off",
        "console": "off",
    }
    return LocalSettings.model_validate({**own, **ports, **settings})


@asynccontextmanager
async def whole_system(services: Services) -> AsyncIterator[WholeSystem]:
    """Start the system with these services in place of the usual ones; stop it at the end."""
    settings = services.settings
    with ExitStack() as stack:
        stack.enter_context(single_instance(settings.folder))
        screen = Screen(Console(file=stack.enter_context((settings.folder / "screen.log").open("w")), highlight=False))
        system = System(settings, credentials=services.credentials, screen=screen, services=services)
        try:
            await system.start()
            running = RunningSystem.from_state(settings.folder, read_state(settings.folder) or {})
            yield WholeSystem(running, SupervisedProcesses(system.supervisor), screen)
        finally:
            await system.stop()

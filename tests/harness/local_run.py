"""The whole of `make run` as a process, on free ports and in a folder of its own, with its own Kafka."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from deploy.local.control_client import ControlClient
from deploy.local.ports import free_port
from deploy.local.settings import LocalSettings
from deploy.local.state import CHECKOUT, read_state
from tests.harness.waiting import until

START_SECONDS = 120
STOP_SECONDS = 60


@dataclass(frozen=True)
class LocalRun:
    """A running system, as its state file describes it."""

    folder: Path
    state: dict[str, Any]
    http: httpx2.AsyncClient
    """A client of the gateway."""

    @property
    def console_url(self) -> str:
        """The URL of the console."""
        url: str = self.state["processes"]["console"]["address"]
        return url

    @property
    def admin_password(self) -> str:
        """The password of the admin."""
        return Path(self.state["admin_password_file"]).read_text().strip()

    @property
    def control(self) -> ControlClient:
        """A client of the control socket."""
        return ControlClient(Path(self.state["control_socket"]))


@asynccontextmanager
async def local_run(folder: Path, **settings: str) -> AsyncIterator[LocalRun]:
    """Run the system until the end of the block. `settings` are ORDERLY_* in lower case, without the prefix."""
    ports = {name: str(free_port()) for name in LocalSettings().ports()}
    given = {f"ORDERLY_{name.upper()}": value for name, value in settings.items()}
    environment = {**os.environ, **ports, **given, "ORDERLY_FOLDER": str(folder), "PYTHONPATH": str(CHECKOUT)}
    output = (folder.parent / "run.log").open("wb")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "deploy.local", "run", env=environment, stdout=output, stderr=output
    )

    async def is_ready() -> bool:
        assert process.returncode is None, (folder.parent / "run.log").read_text()
        return bool((read_state(folder) or {}).get("ready"))

    try:
        await until(is_ready, seconds=START_SECONDS, what="the system is ready", poll_seconds=0.1)
        state = read_state(folder) or {}
        async with httpx2.AsyncClient(base_url=state["urls"]["gateway"], timeout=20) as http:
            yield LocalRun(folder, state, http)
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
        output.close()

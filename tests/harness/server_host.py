"""Runs one server for a test run and ends with it.

Usage: `python -m tests.harness.server_host KIND HOW FOLDER CONTROLLER_PID`.
"""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import cast

from deploy.local.broker import Choice, prepare_broker
from deploy.local.ports import free_port
from deploy.local.postgres import Postgres
from deploy.local.process import LocalError, Program, start_process
from deploy.local.valkey import Valkey
from tests.harness.servers import How, Kind, ServerFailed, process_exists

CONTROLLER_POLL_SECONDS = 0.2


async def serve(kind: Kind, how: How, folder: Path, controller_pid: int) -> None:
    """Start the server, tell where it answers, and stop it when the run is over."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with containerised(kind) if how == "containers" else local_process(kind, folder / kind) as url:
        unfinished = folder / f"{kind}.url.unfinished"
        unfinished.write_text(url)
        unfinished.rename(folder / f"{kind}.url")
        await run_is_over(controller_pid, stop)


def containerised(kind: Kind) -> AbstractAsyncContextManager[str]:
    """Return the context of a container. The import is here because it takes as long as a local server's start."""
    from tests.harness.containers import container

    return container(kind)


@asynccontextmanager
async def local_process(kind: Kind, folder: Path) -> AsyncIterator[str]:
    """Start a server as a local process with its data in `folder`, and yield its URL."""
    program, url = await local_program(kind, folder)
    process = await start_process(program, log=folder.with_suffix(".log"), echo=lambda _name, _line: None)
    try:
        await process.wait_until_ready()
        yield url
    finally:
        await process.stop()
        shutil.rmtree(folder, ignore_errors=True)


async def local_program(kind: Kind, folder: Path) -> tuple[Program, str]:
    """Prepare the data folder; return the program to start, and the URL at which it will answer."""
    log, port = folder.with_suffix(".log"), free_port()
    match kind:
        case "postgres":
            postgres = Postgres(folder=folder, port=port, password="orderly", durable=False)
            await postgres.prepare(log)
            return postgres.program(), postgres.admin_url
        case "valkey":
            valkey = Valkey(folder=folder, port=port, durable=False)
            return valkey.program(), valkey.url
        case "kafka":
            choice = cast("Choice", os.environ.get("ORDERLY_KAFKA", "auto"))
            broker = await prepare_broker(
                folder=folder,
                port=port,
                controller_port=free_port(),
                choice=choice,
                log=log,
                warn=partial(_write, folder.with_suffix(".warning")),
            )
            return broker.program, broker.program.address


def _write(path: Path, text: str) -> None:
    path.write_text(text)


async def run_is_over(controller_pid: int, stop: asyncio.Event) -> None:
    """Wait for SIGTERM or for the controller's end, however it ends."""
    while not stop.is_set() and process_exists(controller_pid):
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), timeout=CONTROLLER_POLL_SECONDS)


def main(kind: Kind, how: How, folder: Path, controller_pid: int) -> None:
    """Serve until the run is over. Exit with a one-line message if the server does not start."""
    try:
        asyncio.run(serve(kind, how, folder, controller_pid))
    except (LocalError, ServerFailed) as error:
        sys.exit(str(error))
    finally:
        if not process_exists(controller_pid):
            # The controller was killed, so nobody else removes the folder.
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(cast("Kind", sys.argv[1]), cast("How", sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))

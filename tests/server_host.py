"""Runs one server for a test run and ends with it: `python -m tests.server_host KIND FOLDER CONTROLLER_PID`."""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import cast

from deploy.local.broker import Choice, prepare_broker
from deploy.local.ports import free_port
from deploy.local.postgres import Postgres
from deploy.local.process import Program, start_process
from deploy.local.valkey import Valkey
from tests.containers import container, containers_are_wanted
from tests.servers import Kind, process_exists

CONTROLLER_POLL_SECONDS = 0.2


async def serve(kind: Kind, folder: Path, controller_pid: int) -> None:
    """Start the server, tell where it answers, and stop it when the run is over."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with server(kind, folder / kind) as url:
        unfinished = folder / f"{kind}.url.unfinished"
        unfinished.write_text(url)
        unfinished.rename(folder / f"{kind}.url")
        await run_is_over(controller_pid, stop)


@asynccontextmanager
async def server(kind: Kind, folder: Path) -> AsyncIterator[str]:
    """Yields the server's URL: a container where containers are wanted and start, else a local process."""
    if containers_are_wanted():
        async with container(kind) as url:
            if url is not None:
                yield url
                return
    program, url = await local_program(kind, folder)
    process = await start_process(program, log=folder.with_suffix(".log"), echo=lambda _name, _line: None)
    try:
        await process.wait_until_ready()
        yield url
    finally:
        await process.stop()
        shutil.rmtree(folder, ignore_errors=True)


async def local_program(kind: Kind, folder: Path) -> tuple[Program, str]:
    """The program to start, its data folder prepared, and the URL at which it will answer."""
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
                folder=folder, port=port, controller_port=free_port(), choice=choice, log=log, warn=print
            )
            return broker.program, broker.program.address


async def run_is_over(controller_pid: int, stop: asyncio.Event) -> None:
    """Wait for SIGTERM or for the controller's end, however it ends."""
    while not stop.is_set() and process_exists(controller_pid):
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), timeout=CONTROLLER_POLL_SECONDS)


if __name__ == "__main__":
    asyncio.run(serve(cast("Kind", sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
    if not process_exists(int(sys.argv[3])):
        # The controller was killed, and nobody else will.
        shutil.rmtree(sys.argv[2], ignore_errors=True)

"""A PostgreSQL of `make run`: its data outlive it, however it ends."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg

from deploy.local.ports import free_port
from deploy.local.postgres import Postgres, create_database
from deploy.local.process import Process, start_process


async def test_what_was_committed_is_found_after_a_stop_and_after_a_kill() -> None:
    # Not pytest's folder, whose parents are closed to the user that PostgreSQL runs as.
    with TemporaryDirectory() as folder:
        async with _running(Path(folder)) as (url, _process):
            assert await create_database(url, name="shop", password="first") is True
            await _execute(url, "CREATE TABLE letter (id int)")

        async with _running(Path(folder)) as (url, process):
            assert await create_database(url, name="shop", password="second") is False
            await _execute(url, "INSERT INTO letter VALUES (1)")
            os.kill(process.pid, signal.SIGKILL)
            await process.wait()
            assert (Path(folder) / "data" / "postmaster.pid").exists()

        async with _running(Path(folder)) as (url, _process):
            assert await _execute(url, "SELECT FROM letter") == "SELECT 1"
            await _execute(url.replace("postgres:admin@", "shop:second@").replace("/postgres", "/shop"), "SELECT 1")


@asynccontextmanager
async def _running(folder: Path) -> AsyncIterator[tuple[str, Process]]:
    postgres = Postgres(folder=folder / "data", port=free_port(), password="admin")
    await postgres.prepare(folder / "log")
    process = await start_process(postgres.program(), log=folder / "log", echo=lambda _name, _line: None)
    try:
        await process.wait_until_ready()
        yield postgres.admin_url, process
    finally:
        await process.stop()


async def _execute(url: str, statement: str) -> str:
    connection = await asyncpg.connect(url)
    try:
        return str(await connection.execute(statement))
    finally:
        await connection.close()

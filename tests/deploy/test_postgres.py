"""The PostgreSQL of `make run` keeps its data, even if it is killed."""

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


async def test_committed_rows_survive_a_stop_and_a_kill() -> None:
    # Not pytest's folder: the user that PostgreSQL runs as cannot enter its parents.
    with TemporaryDirectory() as folder:
        async with _running(Path(folder)) as (url, _process):
            assert await create_database(url, name="shop", password="first", owner_password="owner") is True
            await _execute(url, "CREATE TABLE letter (id int)")

        async with _running(Path(folder)) as (url, process):
            assert await create_database(url, name="shop", password="second", owner_password="owner") is False
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

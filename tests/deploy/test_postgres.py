"""The PostgreSQL of `make run` keeps its data, even if it is killed, and completes what a killed start began."""

import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg
import pytest

from deploy.local.ports import free_port
from deploy.local.postgres import SETTINGS, Postgres, create_database, ensure_role, owner_of
from deploy.local.process import Process, start_process
from tests.harness.exiting_postgres import LAST_WORDS, exiting_postgres


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


async def test_a_server_has_a_name_and_settings_of_its_own() -> None:
    with TemporaryDirectory() as folder:
        async with _running(Path(folder), name="shop-postgres", settings={"shared_buffers": "24MB"}) as (url, process):
            assert process.program.name == "shop-postgres"
            connection = await asyncpg.connect(url)
            assert await connection.fetchval("SHOW shared_buffers") == "24MB"
            assert await connection.fetchval("SHOW io_method") == SETTINGS["io_method"]
            await connection.close()


async def test_a_database_that_was_made_halfway_gets_its_privileges() -> None:
    with TemporaryDirectory() as folder:
        async with _running(Path(folder)) as (url, _process):
            connection = await asyncpg.connect(url)
            await ensure_role(connection, name=owner_of("shop"), password="owner")
            await ensure_role(connection, name="shop", password="role")
            await ensure_role(connection, name="stranger", password="stranger")
            # Here the process was killed.
            await connection.execute(f"CREATE DATABASE shop OWNER {owner_of('shop')}")
            await connection.close()
            assert (
                await create_database(
                    url, name="shop", password="role", owner_password="owner", audit_password="auditor"
                )
                is False
            )

            def url_of(role: str, password: str) -> str:
                return url.replace("postgres:admin@", f"{role}:{password}@").replace("/postgres", "/shop")

            await _execute(url_of(owner_of("shop"), "owner"), "CREATE TABLE letter (id int)")
            assert await _execute(url_of("shop", "role"), "INSERT INTO letter VALUES (1)") == "INSERT 0 1"
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await _execute(url_of("stranger", "stranger"), "SELECT 1")
            assert await _execute(url_of("audit", "auditor"), "SELECT FROM letter") == "SELECT 1"
            with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
                await _execute(url_of("audit", "auditor"), "DELETE FROM letter")
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await _execute(url_of("audit", "auditor"), "BEGIN READ WRITE; DELETE FROM letter")


@pytest.mark.parametrize("last_words", LAST_WORDS.values(), ids=LAST_WORDS.keys())
async def test_a_server_that_exits_while_it_is_asked_is_not_ready(last_words: bytes, tmp_path: Path) -> None:
    async with exiting_postgres(last_words) as port:
        assert await Postgres(folder=tmp_path, port=port, password="admin").program().ready() is False


@asynccontextmanager
async def _running(
    folder: Path, *, name: str = "postgres", settings: Mapping[str, str] | None = None
) -> AsyncIterator[tuple[str, Process]]:
    postgres = Postgres(folder=folder / "data", port=free_port(), password="admin", name=name, settings=settings or {})
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

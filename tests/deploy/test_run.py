"""`python -m deploy.local run` with real servers and stand-ins for the services."""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx2
import pytest

from deploy.local.credentials import SERVICES
from deploy.local.ports import free_port
from deploy.local.postgres import owner_of, server_of
from deploy.local.settings import LocalSettings
from deploy.local.state import CHECKOUT, read_state
from shared.connection_urls import dsn_of
from tests.deploy.stand_in_services import write_services

DEADLINE_SECONDS = 90
ALREADY_RUNNING = "The system is already running (pid {}). `make status` shows it; `make stop` stops it."


class Run:
    """Runs the commands with a folder and ports of its own."""

    def __init__(self, folder: Path, kafka_bootstrap_servers: str) -> None:
        self.folder = folder / ".local"
        self.notes = folder / "notes"
        self._working_folder = folder
        self._environment = {
            **os.environ,
            **{name: str(free_port()) for name in LocalSettings().ports()},
            "ORDERLY_FOLDER": str(self.folder),
            # A killed server with its data may cost no commit, and no start may wait for a receiver that waits for it.
            "ORDERLY_WAL_ARCHIVE": "synchronous",
            # The stand-ins make no tables.
            "ORDERLY_AUDIT": "off",
            "ORDERLY_CONSOLE": "off",
            "KAFKA_BOOTSTRAP_SERVERS": kafka_bootstrap_servers,
            "PYTHONPATH": str(CHECKOUT),
            "NOTES": str(self.notes),
        }

    def port(self, name: str) -> int:
        return int(self._environment[f"ORDERLY_{name}_PORT"])

    def command(self, *arguments: str, module: str = "deploy.local") -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=self._working_folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def output_of(self, *arguments: str, module: str = "deploy.local") -> tuple[int, str]:
        with self.command(*arguments, module=module) as process:
            output, _ = process.communicate(timeout=DEADLINE_SECONDS)
        return process.returncode, output

    def owner_url(self, database_url: str) -> str:
        """Return a service's URL with the role that owns its tables."""
        parts = urlsplit(database_url)
        passwords = json.loads((self.folder / "secrets" / "database-passwords.json").read_text())
        owner = owner_of(parts.username or "")
        return parts._replace(netloc=f"{owner}:{passwords[owner]}@127.0.0.1:{parts.port}").geturl()

    def reset(self) -> None:
        """Run `make reset` without the `stop` that it begins with."""
        command = ["make", f"--file={CHECKOUT / 'Makefile'}", "--old-file=stop", "reset"]
        subprocess.run(command, cwd=self._working_folder, check=True)

    @contextmanager
    def started(self) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
        """Yield the process of `run` and its state, once the system is ready."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        with self.command("run") as process:
            try:
                while not (state := read_state(self.folder) or {}).get("ready"):
                    assert process.poll() is None, process.stdout and process.stdout.read()
                    assert time.monotonic() < deadline, "not ready in time"
                    time.sleep(0.1)
                yield process, state
            finally:
                process.terminate()
                process.communicate(timeout=DEADLINE_SECONDS)


@pytest.fixture
def run(kafka_bootstrap_servers: str) -> Iterator[Run]:
    # Not pytest's folder: the user that PostgreSQL runs as cannot enter its parents.
    with TemporaryDirectory() as folder:
        write_services(Path(folder))
        yield Run(Path(folder), kafka_bootstrap_servers)


def test_a_port_in_use_is_reported_before_anything_starts(run: Run) -> None:
    with closing(socket.create_server(("127.0.0.1", run.port("ORDERS")))):
        status, shown = run.output_of("run")

    assert status == 1
    assert f"Port {run.port('ORDERS')} is in use by" in shown
    assert "Set ORDERLY_ORDERS_PORT to choose another port." in shown
    assert not (run.folder / "logs").exists()


def test_a_shell_needs_a_running_system(run: Run) -> None:
    assert run.output_of("shell") == (1, "  ✗ The system is not running. `make run` starts it.\n")


def test_data_of_an_earlier_version_are_reported_before_anything_starts(run: Run) -> None:
    """One with a single PostgreSQL server for all services, whose superuser had the only password of that kind."""
    (run.folder / "secrets").mkdir(parents=True)
    passwords = {role: "secret" for service in SERVICES for role in (service, owner_of(service))}
    (run.folder / "secrets" / "database-passwords.json").write_text(json.dumps({"postgres": "secret", **passwords}))

    status, shown = run.output_of("run")

    assert status == 1
    assert "lacks passwords (users-postgres, orders-postgres, notifications-postgres" in shown
    assert "`make reset` deletes them." in shown
    assert not (run.folder / "logs").exists()


async def test_a_run_routes_restarts_excludes_a_second_run_stops_in_order_is_restored_and_keeps_its_data_until_reset(
    run: Run,
) -> None:
    with run.started() as (process, state):
        status, shown = run.output_of("backup", "--services", "orders", module="deploy.backup")
        assert (status, shown.startswith("orders: base backup ")) == (0, True), shown
        status, shown = run.output_of("restore", module="deploy.backup")
        assert (status, shown) == (1, f"The system runs (pid {process.pid}). Stop it before a restore: make stop\n")
        await _execute(run.owner_url(state["databases"]["orders"]), "CREATE TABLE kept (id int)")
        await _check_that_a_service_has_a_server_of_its_own(state["databases"])
        async with httpx2.AsyncClient(base_url=state["urls"]["gateway"]) as client:
            await _check_routes(client)
            await _check_restart_of_a_killed_service(client, pid=state["processes"]["users"]["pid"])

        python = Path(sys.executable).parent / "python"
        show = "echo $ORDERS_DATABASE_URL $AUDIT_STATE_FILE; command -v python"
        expected = f"{state['databases']['orders']} {run.folder / 'audit.json'}\n{python}\n"
        assert run.output_of("shell", "--command", show) == (0, expected)
        assert run.output_of("run") == (1, f"  ✗ {ALREADY_RUNNING.format(process.pid)}\n")
        status, shown = run.output_of("status")
        assert status == 0
        assert "users (restarts: 1)" in shown
        assert [service for service in SERVICES if server_of(service) not in shown] == []

        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=DEADLINE_SECONDS)
        assert process.returncode == 0
        assert "Everything has stopped" in output
        assert read_state(run.folder) is None
    notes = run.notes.read_text().splitlines()
    assert sorted(notes[-3:]) == ["notifications stopped", "orders stopped", "users stopped"]
    assert notes[0] == "all set-up"

    shutil.rmtree(run.folder / "postgres" / "orders" / "data")
    status, shown = run.output_of("run")
    assert status == 1
    assert "Restore them: make restore SERVICES=orders." in " ".join(shown.split())
    status, shown = run.output_of("restore", "--services", "orders", module="deploy.backup")
    assert (status, shown.startswith("orders: restored from base backup 0001/")) == (0, True), shown
    with run.started() as (_process, state):
        await _execute(state["databases"]["orders"], "SELECT FROM kept")
    # Of an audit, whose places in the tables mean nothing in the next system.
    for name in ("audit.json", "audit.json.lock"):
        (run.folder / name).touch()
    run.reset()
    assert [path.name for path in run.folder.iterdir()] == ["lock"]


async def _check_routes(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/v1/orders/1?a=b")).text == "orders answers /v1/orders/1?a=b"
    assert (await client.get("/.well-known/jwks.json")).text == "users answers /.well-known/jwks.json"
    assert (await client.get("/v1/notifications")).text == "notifications answers /v1/notifications"
    for hidden in ("/health", "/metrics", "/docs", "/v1/nothing", "/problems/502"):
        answer = await client.get(hidden)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), hidden


async def _check_restart_of_a_killed_service(client: httpx2.AsyncClient, *, pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    answer = await client.post("/v1/users")
    # 503 once a health check has found it.
    assert (answer.status_code, answer.json()["code"]) in ((502, "service_unreachable"), (503, "service_unavailable"))

    async with asyncio.timeout(DEADLINE_SECONDS):
        while (await client.get("/v1/users")).status_code != 200:  # noqa: ASYNC110 - the supervisor restarts it
            await asyncio.sleep(0.1)


async def _check_that_a_service_has_a_server_of_its_own(databases: dict[str, str]) -> None:
    on_server = "SELECT datname::text FROM pg_database WHERE NOT datistemplate ORDER BY datname <> 'postgres'"
    for service, url in databases.items():
        connection = await asyncpg.connect(dsn_of(url))
        assert [name for (name,) in await connection.fetch(on_server)] == ["postgres", service]
        await connection.close()


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn_of(url))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()

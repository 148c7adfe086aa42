"""A URL that leads to PgBouncer is refused in one sentence, by services, migrations and operators' commands alike."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import asyncpg
import pytest

from deploy.local.ports import free_port
from deploy.local.postgres import system_user
from deploy.local.process import Program, start_process
from deploy.local.state import CHECKOUT
from shared.connection_urls import dsn_of
from shared.database import ConnectedThroughPooler, open_database, refuse_pooler
from tests.harness.databases import PASSWORD, DatabaseFactory

SENTENCE = (
    "The database URL leads to a pooler such as PgBouncer, not to PostgreSQL itself: "
    "sessions need LISTEN, prepared statements and settings of their own"
)


def pgbouncer() -> str:
    """Return the program. Skips the test on a machine without it; `.ci/run` installs it."""
    path = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if path is None:
        assert "CI" not in os.environ, "CI needs PgBouncer: apt-get install pgbouncer"
        pytest.skip("PgBouncer is not installed: apt-get install pgbouncer")
    return path


@pytest.fixture(params=["transaction", "session"])
async def pooled_url(request: pytest.FixtureRequest, database_factory: DatabaseFactory) -> AsyncIterator[str]:
    """The URL of a service's database through PgBouncer, in one of its modes."""
    program = pgbouncer()
    direct = urlsplit(dsn_of(await database_factory("orders")))
    port, user = free_port(), system_user()
    # Not pytest's folder: the user that PgBouncer runs as cannot enter its parents.
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "users.txt").write_text(f'"{direct.username}" "{PASSWORD}"\n')
        (folder / "pgbouncer.ini").write_text(f"""
            [databases]
            * = host=127.0.0.1 port={direct.port}
            [pgbouncer]
            listen_addr = 127.0.0.1
            listen_port = {port}
            unix_socket_dir =
            auth_type = scram-sha-256
            auth_file = {folder}/users.txt
            pool_mode = {request.param}
        """)
        if user is not None:
            for path in (folder, folder / "users.txt", folder / "pgbouncer.ini"):
                shutil.chown(path, user)
        process = await start_process(
            Program(
                name="pgbouncer",
                command=[program, str(folder / "pgbouncer.ini")],
                ready=lambda: _accepts(port),
                address=f"127.0.0.1:{port}",
                user=user,
            ),
            log=folder / "log",
            echo=lambda _name, _line: None,
        )
        try:
            await process.wait_until_ready()
            yield direct._replace(netloc=f"{direct.username}:{PASSWORD}@127.0.0.1:{port}").geturl()
        finally:
            await process.stop()


async def _accepts(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def test_a_pooled_connection_is_refused(pooled_url: str) -> None:
    connection = await asyncpg.connect(pooled_url)
    await connection.close()
    with pytest.raises(ConnectedThroughPooler, match=SENTENCE):
        await refuse_pooler(pooled_url)
    # PgBouncer refuses the settings of a service's session before its first statement.
    database = open_database(pooled_url, service="test", pool_size=1)
    with pytest.raises(ConnectedThroughPooler, match=SENTENCE):
        await database.ping()
    await database.close()


@pytest.mark.parametrize("command", [("serve",), ("migrate", "--no-topics"), ("outbox", "status")])
async def test_commands_end_with_one_sentence(pooled_url: str, command: tuple[str, ...]) -> None:
    settings = {
        "ORDERS_DATABASE_URL": pooled_url,
        "ORDERS_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "ORDERS_VALKEY_URL": "redis://127.0.0.1:1/0",
        "ORDERS_USERS_URL": "http://127.0.0.1:1",
        "ORDERS_USERS_TOKEN": "x" * 16,
        "ORDERS_HTTP_PORT": "0",
    }
    ended = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "services.orders", *command],
        cwd=CHECKOUT,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stderr.strip()) == (2, SENTENCE)


async def test_a_database_that_does_not_answer_is_not_refused() -> None:
    await refuse_pooler("postgresql://nobody@127.0.0.1:1/nothing")

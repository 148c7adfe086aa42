"""Databases for tests: cloned in milliseconds from a template that the service's own migrations made."""

import asyncio
import os
import sys
import uuid
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import sqlalchemy as sa

from deploy.local.postgres import create_owned_database, ensure_role
from deploy.local.process import run_to_end
from shared.database import Sessions
from tests.harness import servers

# Of throw-away databases on the loopback address.
PASSWORD = "orderly"
CONNECTIONS = 50
"""The pool size of a service under test: one connection for each request that a test sends at once. With fewer, a
request on a busy machine waits for a connection longer than the pool allows."""

_WAITING = sa.text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


async def count_waiting(sessions: Sessions) -> int:
    """Return how many transactions of this database wait for another one's lock."""
    # In a transaction each: one transaction sees one state of the activity.
    async with sessions() as session:
        return await session.scalar(_WAITING) or 0


async def until_waiting(sessions: Sessions, *, transactions: int) -> None:
    """Wait until that many transactions wait for a lock at once. Raises: TimeoutError."""
    async with asyncio.timeout(60):
        while await count_waiting(sessions) < transactions:  # noqa: ASYNC110 - locks tell nobody
            await asyncio.sleep(0.01)


class DatabaseFactory:
    """Creates the databases of one test, and drops them."""

    def __init__(self, admin_url: str) -> None:
        self._admin_url = admin_url
        self._names: list[str] = []

    async def __call__(self, service: str | None = None) -> str:
        """Create a database; return its URL for SQLAlchemy, as its owner, who is not a superuser."""
        owner = service or "tester"
        if service is None:
            template = None
            await asyncio.to_thread(_make_once, self._admin_url, owner)
        else:
            template = await asyncio.to_thread(_make_once, self._admin_url, owner, migrate=True)
        name = f"test_{owner}_{uuid.uuid4().hex[:12]}"
        connection = await asyncpg.connect(self._admin_url)
        try:
            await create_owned_database(connection, name=name, owner=owner, template=template)
        finally:
            await connection.close()
        self._names.append(name)
        return database_url(self._admin_url, name=name, role=owner)

    async def drop_all(self) -> None:
        """Drop them, and terminate their connections."""
        connection = await asyncpg.connect(self._admin_url)
        try:
            for name in self._names:
                await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        finally:
            await connection.close()


def database_url(admin_url: str, *, name: str, role: str) -> str:
    """Return the URL of a database on the same server, as one of the test roles."""
    server = urlsplit(admin_url)
    return f"postgresql+asyncpg://{role}:{PASSWORD}@{server.hostname}:{server.port}/{name}"


def for_asyncpg(url: str) -> str:
    """Return the URL without SQLAlchemy's name of the driver."""
    return url.replace("postgresql+asyncpg://", "postgresql://", 1)


def drop_templates() -> None:
    """Drop the templates on a server that outlives the run."""
    admin_url = servers.given_url("postgres")
    made = [path.stem for path in servers.run_folder().glob("*.template")]
    if admin_url is not None and made:
        asyncio.run(_drop(admin_url, [_template_name(service) for service in made]))


async def _drop(admin_url: str, names: list[str]) -> None:
    connection = await asyncpg.connect(admin_url)
    try:
        for name in names:
            await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
    finally:
        await connection.close()


def _template_name(service: str) -> str:
    # With the run's name: a server that outlives the run must not hand out yesterday's schema.
    return f"template_{service}_{servers.run_folder().name}"


def _make_once(admin_url: str, service: str, *, migrate: bool = False) -> str:
    """Create a role or a template unless another worker has. Run it in a thread: it waits for the other worker."""
    done = servers.run_folder() / f"{service}.{'template' if migrate else 'role'}"
    with servers.lock("databases"):
        if not done.exists():
            asyncio.run(_make(admin_url, service, migrate=migrate))
            done.touch()
    return _template_name(service)


async def _make(admin_url: str, service: str, *, migrate: bool) -> None:
    connection = await asyncpg.connect(admin_url)
    try:
        await ensure_role(connection, name=service, password=PASSWORD)
        if not migrate:
            return
        await create_owned_database(connection, name=_template_name(service), owner=service)
    finally:
        await connection.close()
    await run_to_end(
        [sys.executable, "-m", f"services.{service}", "migrate", "--no-topics"],
        log=servers.run_folder() / f"{service}.migrate.log",
        environment=_environment(admin_url, service),
    )


def _environment(admin_url: str, service: str) -> dict[str, str]:
    prefix = service.upper()
    return {
        f"{prefix}_DATABASE_URL": database_url(admin_url, name=_template_name(service), role=service),
        f"{prefix}_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",  # not asked: no topics are wanted
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]),
    }

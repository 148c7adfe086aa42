"""Databases for tests: cloned in milliseconds from a template that the service's own migrations made."""

import asyncio
import os
import re
import sys
import uuid
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import sqlalchemy as sa

from deploy.local.postgres import create_owned_database, ensure_role, grant_rows, owner_of
from deploy.local.process import run_to_end
from deploy.local.state import CHECKOUT
from shared.connection_urls import dsn_of
from shared.database import Sessions
from tests.harness import servers
from tests.harness.waiting import until

PASSWORD = "orderly"
"""The password of throw-away databases on the loopback address."""
CONNECTIONS = 64
"""The pool size of a service under test: one connection for each of 50 requests that a test sends at once, and those
that are not for requests. With fewer, a request on a busy machine waits longer for one than the pool allows."""

_WAITING = sa.text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


async def count_waiting(sessions: Sessions) -> int:
    """Return how many transactions of this database wait for another one's lock."""
    # A new transaction for each query: within one, pg_stat_activity does not change.
    async with sessions() as session:
        return await session.scalar(_WAITING) or 0


async def until_waiting(sessions: Sessions, *, transactions: int) -> None:
    """Wait until that many transactions wait for a lock at once. Raises: AssertionError after a minute."""

    async def are_waiting() -> bool:
        return await count_waiting(sessions) >= transactions

    await until(are_waiting, what=f"{transactions} transactions wait for a lock")


class DatabaseFactory:
    """Creates the databases of one test, and drops them."""

    def __init__(self, admin_url: str) -> None:
        self._admin_url = admin_url
        self._names: list[str] = []

    async def __call__(self, service: str | None = None) -> str:
        """Create a database; return its URL, with the role that the service has as it runs: see `as_owner`.

        An empty database's role owns it. Files are copied: without fsync, that takes half of the time of WAL.
        """
        role = service or "tester"
        template = await asyncio.to_thread(_make_once, self._admin_url, role, migrate=service is not None)
        name = f"test_{role}_{uuid.uuid4().hex[:12]}"
        connection = await asyncpg.connect(self._admin_url)
        try:
            if service is None:
                await create_owned_database(connection, name=name, owner=role)
            else:
                await create_owned_database(
                    connection, name=name, owner=owner_of(role), role=role, template=template, strategy="file_copy"
                )
        finally:
            await connection.close()
        self._names.append(name)
        return database_url(self._admin_url, name=name, role=role)

    async def drop_all(self) -> None:
        """Drop the test's databases, and terminate their connections."""
        await _drop(self._admin_url, self._names)


def database_url(admin_url: str, *, name: str, role: str) -> str:
    """Return the URL of a database on the same server, as one of the test roles."""
    server = urlsplit(admin_url)
    return f"postgresql+asyncpg://{role}:{PASSWORD}@{server.hostname}:{server.port}/{name}"


def as_owner(url: str) -> str:
    """Return a service's database URL with the role that owns the tables, for tests that change or make some."""
    role = (urlsplit(url).username or "").removesuffix(owner_of(""))
    return re.sub(r"//\w+:", f"//{owner_of(role)}:", url, count=1)


async def execute_as_owner(sessions: Sessions, *statements: str) -> None:
    """Execute statements that a service's own role may not, such as DDL, in its database."""
    url = sessions.kw["bind"].url.render_as_string(hide_password=False)
    connection = await asyncpg.connect(dsn_of(as_owner(url)))
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def create_template(
    admin_url: str, *, name: str, owner: str, service: str, log: Path, role: str | None = None
) -> None:
    """Create an owner and its database, and run the service's migrations in it. `log`: where they write.

    `role` gets the privileges of a service as it runs.
    """
    connection = await asyncpg.connect(admin_url)
    try:
        for each in filter(None, (owner, role)):
            await ensure_role(connection, name=each, password=PASSWORD)
        await create_owned_database(connection, name=name, owner=owner, role=role)
    finally:
        await connection.close()
    if role is not None:
        await grant_rows(admin_url, database=name, owner=owner, role=role)
    prefix = service.upper()
    await run_to_end(
        [sys.executable, "-m", f"services.{service}", "migrate", "--no-topics"],
        log=log,
        environment={
            f"{prefix}_DATABASE_URL": database_url(admin_url, name=name, role=owner),
            f"{prefix}_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",  # never contacted: no topics are created
            "PYTHONPATH": os.pathsep.join([str(CHECKOUT), os.environ.get("PYTHONPATH", "")]),
        },
    )


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
    # The run's name is part of it: a server that outlives the run must not provide an old schema.
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
    if migrate:
        log = servers.run_folder() / f"{service}.migrate.log"
        await create_template(
            admin_url,
            name=_template_name(service),
            owner=owner_of(service),
            role=service,
            service=service,
            log=log,
        )
        return
    connection = await asyncpg.connect(admin_url)
    try:
        await ensure_role(connection, name=service, password=PASSWORD)
    finally:
        await connection.close()

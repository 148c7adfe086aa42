"""Fixtures: the databases of a small, undamaged system."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

import asyncpg
import pytest

from deploy.audit.databases import SERVICES, Databases
from shared.connection_urls import dsn_of
from tests.deploy.audit.undamaged import UNDAMAGED
from tests.harness.databases import DatabaseFactory, as_owner

_TABLES = {
    "users": ("credit_reservation", "credit_account", "user_account"),
    "orders": (
        "overdue_order",
        "order_timeline",
        "order_item",
        "customer_order",
        "customer",
        "product",
        "sealed_contact",
    ),
    "notifications": ("delivery", "notification", "recipient", "sealed_contact"),
}
_MESSAGING_TABLES = ("outbox", "outbox_sent", "event_stream", "inbox", "inbox_sequence", "pgqueuer")


async def make_undamaged(databases: Databases) -> None:
    """Replace all rows by those of a small, undamaged system."""
    for service, connection in databases.items():
        tables = ("dead_letter_action", "dead_letter", "position_action", *_TABLES[service], *_MESSAGING_TABLES)
        await connection.execute("; ".join(f'DELETE FROM "{table}"' for table in tables))  # noqa: S608 - constants
        # Above the ids of the events that are stored as sent.
        await connection.execute("SELECT setval(pg_get_serial_sequence('outbox', 'id'), 1000)")
        await connection.execute(UNDAMAGED[service])


@pytest.fixture
async def urls(database_factory: DatabaseFactory) -> dict[str, str]:
    """The URLs of the databases, with the roles that the services have as they run."""
    return {service: await database_factory(service) for service in SERVICES}


@asynccontextmanager
async def writing(urls: Mapping[str, str]) -> AsyncIterator[Databases]:
    """Connect as the owners of the tables, who can damage them."""
    async with AsyncExitStack() as stack:
        connections: dict[str, asyncpg.Connection[asyncpg.Record]] = {}
        for service, url in urls.items():
            connections[service] = await asyncpg.connect(dsn_of(as_owner(url)))
            stack.push_async_callback(connections[service].close)
        yield connections


@pytest.fixture
async def writable(urls: dict[str, str]) -> AsyncIterator[Databases]:
    """Yield connections that can damage the databases of a small, undamaged system."""
    async with writing(urls) as databases:
        await make_undamaged(databases)
        yield databases

"""Column types change in the databases of all services while they work: no request, event or job fails."""

import asyncio
from collections import Counter
from contextlib import suppress

import asyncpg
import httpx2

from shared.connection_urls import dsn_of
from tests.harness.databases import as_owner
from tests.journeys.processes import SERVICES, Customer, RunningServices, broken_invariants, customer_of

CUSTOMERS = 4
WARM_UP_ORDERS = 5
ROUNDS = (("text", "character varying"), ("character varying", "text"))
"""The type of a column before and after each round: no row is rewritten, and every prepared statement is invalid."""
MAX_REPEATS = 20
"""Repeats of the rounds until they have met a request and a batch of events: which statements they meet is chance."""
MET = ("request_repeated", "batch_retried")
"""The logged events that show it."""

# Without the columns of foreign keys: their change locks two tables, against the order of the requests' locks.
_COLUMNS = """
    SELECT c.table_name, array_agg(quote_ident(c.column_name) ORDER BY c.ordinal_position)
    FROM information_schema.columns c
    JOIN pg_class r ON r.relname = c.table_name AND NOT r.relispartition AND r.relkind IN ('r', 'p')
    WHERE c.table_schema = 'public' AND c.data_type = $1 AND c.table_name <> 'alembic_version'
    AND c.column_name <> 'sku'
    GROUP BY c.table_name ORDER BY c.table_name
"""


async def change_types(dsn: str, *, before: str, after: str) -> int:
    """Change the type of every column of one type, a table at a time; return the number of tables."""
    connection = await asyncpg.connect(dsn)
    await connection.execute("SET lock_timeout = 2000")
    tables = await connection.fetch(_COLUMNS, before)
    for table, columns in tables:
        changes = ", ".join(f"ALTER COLUMN {column} TYPE {after}" for column in columns)
        async with asyncio.timeout(30):
            while True:
                # Run again, as decision 7 says.
                with suppress(asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
                    await connection.execute(f'ALTER TABLE "{table}" {changes}')
                    break
    await connection.close()
    return len(tables)


def logs_of(services: RunningServices) -> str:
    """Return what all services have logged."""
    return "".join((services.logs / f"{service}.log").read_text() for service in SERVICES)


async def order_until(stopping: asyncio.Event, customer: Customer, outcomes: Counter[int]) -> None:
    """Place orders and read them; count the status of each response."""
    async with httpx2.AsyncClient(base_url=customer.urls["orders"], timeout=20, headers=customer.headers) as client:
        while not stopping.is_set():
            body = {"items": [{"sku": "LAMP", "quantity": 1}]}
            outcomes[(await client.post("/v1/orders", json=body)).status_code] += 1
            outcomes[(await client.get("/v1/orders")).status_code] += 1
            credit = await client.get(f"{customer.urls['users']}/v1/users/me/credit")
            outcomes[credit.status_code] += 1


async def test_column_types_change_under_load_without_a_failure(services: RunningServices) -> None:
    customers = [await customer_of(services, f"customer-{n}") for n in range(CUSTOMERS)]
    dsns = [dsn_of(as_owner(services.environment[f"{service.upper()}_DATABASE_URL"])) for service in SERVICES]
    for customer in customers:
        orders = [await customer.order("LAMP", 1) for _ in range(WARM_UP_ORDERS)]
        assert await customer.status_once_decided(orders[-1]) == "confirmed"
    outcomes, stopping = Counter[int](), asyncio.Event()
    working = [asyncio.create_task(order_until(stopping, customer, outcomes)) for customer in customers]
    for _ in range(MAX_REPEATS):
        for before, after in ROUNDS:
            changed = await asyncio.gather(*(change_types(dsn, before=before, after=after) for dsn in dsns))
            assert min(changed) > 10
        if all(event in logs_of(services) for event in MET):
            break
    stopping.set()
    await asyncio.gather(*working)
    # While a table is locked, a customer may get more pending orders than the limit.
    assert outcomes.keys() - {429} == {200, 201}, outcomes
    assert await broken_invariants(services) == []
    for dsn in dsns:
        connection = await asyncpg.connect(dsn)
        assert await connection.fetchval("SELECT count(*) FROM dead_letter") == 0
        assert await connection.fetchval("SELECT count(*) FROM pgqueuer WHERE status IN ('failed', 'exception')") == 0
        await connection.close()
    logs = logs_of(services)
    assert "request_failed" not in logs
    assert "loop_failed" not in logs
    assert [event for event in MET if event not in logs] == []

"""An incremental run reads as much of a large history as of a small one, and finds nothing in either."""

import json
import os
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

import asyncpg
import structlog

from deploy.audit.context import Context
from deploy.audit.databases import Connection, Databases, connected
from deploy.audit.findings import Kind
from deploy.audit.runs import Limits, run_incremental
from deploy.audit.sent_events import Place
from deploy.audit.watermarks import State
from tests.deploy.audit.history import add_orders, touch_orders

logger = structlog.get_logger(__name__)

SMALL = 50_000
LARGE = int(os.environ.get("AUDIT_TEST_ORDERS", "100000"))
"""Numbers of orders. `make audit-at-size` takes 1,000,000, for which the test needs minutes."""
OPEN_ORDERS = 1_000
TOUCHED = 200
"""Orders that have an event since the last run."""
LIMITS = Limits(max_keys=3_000, part_keys=100)
MAX_GROWTH, MAX_MORE_BLOCKS = 1.7, 20
"""Indexes grow by a level or two: a look-up reads 3 blocks of a small one, 5 of a large one. A query that reads a table
reads as often as much as there are more orders."""


class Explained:
    """A connection that counts the blocks which its queries read, from memory or from disk."""

    def __init__(self, connection: Connection, blocks: Counter[str]) -> None:
        self._connection = connection
        self._blocks = blocks

    async def fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        await self._explain(query, arguments)
        return await self._connection.fetch(query, *arguments)

    async def fetchrow(self, query: str, *arguments: object) -> asyncpg.Record | None:
        await self._explain(query, arguments)
        return await self._connection.fetchrow(query, *arguments)

    async def fetchval(self, query: str, *arguments: object) -> Any:
        await self._explain(query, arguments)
        return await self._connection.fetchval(query, *arguments)

    async def _explain(self, query: str, arguments: tuple[object, ...]) -> None:
        document = await self._connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {query}", *arguments)
        (explained,) = json.loads(document)
        self._blocks[query] += explained["Plan"]["Shared Hit Blocks"] + explained["Plan"]["Shared Read Blocks"]


@dataclass
class Measured:
    """The blocks that one run has read, by query, and what it has found."""

    blocks: Counter[str]
    found: list[str]


async def _measure(databases: Databases, state: State) -> Measured:
    blocks: Counter[str] = Counter()
    explained = {service: Explained(connection, blocks) for service, connection in databases.items()}
    outcome = await run_incremental(Context(cast("Databases", explained), datetime.now(UTC)), state, LIMITS)
    assert outcome.checked[Kind.EVENT] == TOUCHED
    return Measured(blocks, [each.text for each in outcome.reported])


async def _caught_up(databases: Databases) -> State:
    """Return the state of an audit that has read all events."""
    state = State()
    for service, connection in databases.items():
        last = await connection.fetchrow("SELECT day, id FROM outbox_sent ORDER BY day DESC, id DESC LIMIT 1")
        if last is not None:
            state.watermarks[service] = str(Place(last["day"], last["id"]))
    return state


async def test_a_run_reads_as_much_of_a_large_history_as_of_a_small_one(
    writable: Databases, urls: dict[str, str]
) -> None:
    base_ms = int(time.time() * 1000) - 7_200_000
    await add_orders(writable, 0, OPEN_ORDERS, status="confirmed", base_ms=base_ms)
    measured = []
    for first, end in ((OPEN_ORDERS, SMALL), (SMALL, LARGE)):
        for start in range(first, end, SMALL):
            await add_orders(writable, start, min(end, start + SMALL), status="delivered", base_ms=base_ms)
        state = await _caught_up(writable)
        await touch_orders(writable, end - TOUCHED, end, base_ms=base_ms, first_id=end)
        async with connected(urls) as databases:
            measured.append(await _measure(databases, state))

    small, large = measured
    assert (small.found, large.found) == ([], [])
    grown = {
        query: (small.blocks[query], blocks)
        for query, blocks in large.blocks.items()
        if blocks > small.blocks[query] * MAX_GROWTH + MAX_MORE_BLOCKS
    }
    assert grown == {}
    logger.info("audit_measured", blocks={SMALL: small.blocks.total(), LARGE: large.blocks.total()})

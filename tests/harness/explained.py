"""Plans of executed statements: the blocks that they read, and the tables that no index serves."""

import json
from collections.abc import Iterator
from typing import Any

import asyncpg

from tests.harness.executed_statements import Executed

Plan = dict[str, Any]

_EXPLAINABLE = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")


async def blocks_read(connection: "asyncpg.Connection[asyncpg.Record]", statement: Executed) -> int:
    """Run a query again, and return how many blocks it reads, from memory or from disk."""
    for _ in range(2):  # the first time, PostgreSQL also reads its catalogue
        plan = await _explain(connection, statement, "ANALYZE, BUFFERS, FORMAT JSON")
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


async def unindexed_tables(connection: "asyncpg.Connection[asyncpg.Record]", statement: Executed) -> set[str]:
    """Return the tables that a statement can only read as a whole, whatever their sizes are. It is not run.

    A statement that has no plan, such as SET, reads none.
    """
    if not statement.sql.startswith(_EXPLAINABLE):
        return set()
    await connection.execute("SET enable_seqscan = off")
    plan = await _explain(connection, statement, "FORMAT JSON")
    return {node["Relation Name"] for node in nodes_of(plan) if node["Node Type"] == "Seq Scan"}


def nodes_of(plan: Plan) -> Iterator[Plan]:
    """Yield all nodes of a plan."""
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes_of(child)


async def _explain(connection: "asyncpg.Connection[asyncpg.Record]", statement: Executed, options: str) -> Plan:
    document = await connection.fetchval(f"EXPLAIN ({options}) {statement.sql}", *statement.arguments)
    plan: Plan = json.loads(document)[0]["Plan"]
    return plan

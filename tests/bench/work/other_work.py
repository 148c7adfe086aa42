"""Work beside SQL and Kafka: blocks that PostgreSQL reads, Valkey's commands, and HTTP requests of the services."""

import re
from collections import Counter
from collections.abc import Collection, Mapping

import asyncpg
import httpx2
from redis.asyncio import Redis

STATEMENT_SETTINGS = {"shared_preload_libraries": "pg_stat_statements", "pg_stat_statements.max": "10000"}
_EXTENSION = "CREATE EXTENSION IF NOT EXISTS pg_stat_statements"
_BLOCKS = """
    SELECT d.datname::text || ': ' || s.query AS statement,
           sum(s.shared_blks_hit + s.shared_blks_read)::bigint AS blocks
    FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid JOIN pg_roles r ON r.oid = s.userid
    WHERE r.rolname = ANY($1::text[]) GROUP BY 1
"""
_HTTP = re.compile(r'^http_requests_total\{method="(\w+)",route="([^"]*)".*\} (\S+)$', re.MULTILINE)
_COUNTERS_OWN = ("info", "client", "hello", "select")
"""Commands that the counter itself sends."""


async def prepare_block_counter(superuser: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Create the view that counts blocks."""
    await superuser.execute(_EXTENSION)


async def blocks_by_statement(
    superuser: "asyncpg.Connection[asyncpg.Record]", services: Collection[str]
) -> Counter[str]:
    """Return the blocks, hit or read, of each "service: statement" since the server's start."""
    rows = await superuser.fetch(_BLOCKS, list(services))
    return Counter({row["statement"]: row["blocks"] for row in rows})


async def valkey_commands(url: str) -> Counter[str]:
    """Return how often each command was executed since the server's start, those inside scripts included."""
    async with Redis.from_url(url) as client:
        found = await client.info("commandstats")
    named = {name.removeprefix("cmdstat_"): stats["calls"] for name, stats in found.items()}
    return Counter({name: calls for name, calls in named.items() if not name.startswith(_COUNTERS_OWN)})


async def http_requests(http: httpx2.AsyncClient, urls: Mapping[str, str]) -> Counter[str]:
    """Return how many requests of each kind the services have answered since their start; probes do not count."""
    counted = Counter[str]()
    for service, url in urls.items():
        page = (await http.get(f"{url}/metrics")).text
        for method, route, number in _HTTP.findall(page):
            if route != "/metrics" and not route.startswith("/health"):
                counted[f"{service}: {method} {route}"] += int(float(number))
    return counted

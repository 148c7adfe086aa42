"""Samples of the databases while a campaign is under way: credit and stock are not exceeded at any moment.

The audit asks the same of the system at rest. A sample has to be quicker: it is four statements, in a snapshot of each
database, several times a second.
"""

import asyncio
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import asyncpg

from shared.connection_errors import CONNECTION_ERRORS
from shared.connection_urls import dsn_of

INTERVAL_SECONDS = 0.2
TIMEOUT_SECONDS = 10.0

_OVER_LIMIT = """
    SELECT format('users %s: %s cents reserved and %s used, but the limit is %s',
                  user_id, reserved_cents, used_cents, limit_cents)
    FROM credit_account WHERE reserved_cents < 0 OR used_cents < 0 OR reserved_cents + used_cents > limit_cents
"""
_CREDIT_DIFFERS = """
    SELECT format('users %s: %s cents reserved and %s used, but the orders hold %s and %s',
                  a.user_id, a.reserved_cents, a.used_cents, coalesce(r.reserved, 0), coalesce(r.used, 0))
    FROM credit_account a LEFT JOIN (
        SELECT user_id, sum(amount_cents) FILTER (WHERE status = 'reserved') AS reserved,
               sum(amount_cents - refunded_cents) FILTER (WHERE status = 'used') AS used
        FROM credit_reservation GROUP BY user_id
    ) r USING (user_id)
    WHERE (a.reserved_cents, a.used_cents) <> (coalesce(r.reserved, 0), coalesce(r.used, 0))
"""
_OVERSOLD = """
    SELECT format('products %s: %s reserved, but the stock is %s', sku, reserved, stock)
    FROM product WHERE NOT reserved BETWEEN 0 AND stock
"""
_STOCK_DIFFERS = """
    SELECT format('products %s: %s reserved, but the open orders hold %s', sku, reserved, coalesce(held, 0))
    FROM product LEFT JOIN (
        SELECT i.sku, sum(i.quantity) AS held FROM order_item i JOIN customer_order o ON o.id = i.order_id
        WHERE o.status IN ('pending', 'confirmed') GROUP BY i.sku
    ) open_orders USING (sku)
    WHERE reserved <> coalesce(held, 0)
"""
SAMPLED = {"users": (_OVER_LIMIT, _CREDIT_DIFFERS), "orders": (_OVERSOLD, _STOCK_DIFFERS)}
"""Queries by database. Each selects a sentence per violation."""


@dataclass
class Sampler:
    """Samples a campaign's databases. One that is unavailable is sampled again when it is back."""

    databases: Mapping[str, str]
    """The URLs by service."""
    began: float
    """The monotonic time at which the campaign began."""
    taken: int = 0
    """The number of samples."""
    first_seen: dict[str, float] = field(default_factory=dict)
    """The seconds from the campaign's beginning to each violation."""

    async def run(self) -> None:
        """Take samples until cancelled."""
        while True:
            try:
                async with AsyncExitStack() as stack:
                    connections = await self._connect(stack)
                    while True:
                        for service, connection in connections.items():
                            self._add(await sample(connection, service))
                        self.taken += 1
                        await asyncio.sleep(INTERVAL_SECONDS)
            except CONNECTION_ERRORS:
                await asyncio.sleep(INTERVAL_SECONDS)

    def violations(self) -> list[str]:
        """Return the violations, each with the time of the first sample that found it."""
        return [f"{violation} (at {seconds:.1f} s)" for violation, seconds in self.first_seen.items()]

    async def _connect(self, stack: AsyncExitStack) -> dict[str, "asyncpg.Connection[asyncpg.Record]"]:
        connections: dict[str, asyncpg.Connection[asyncpg.Record]] = {}
        for service in SAMPLED:
            # Without cached statements: faults change the types of columns.
            connection = await asyncpg.connect(
                dsn_of(self.databases[service]),
                timeout=TIMEOUT_SECONDS,
                command_timeout=TIMEOUT_SECONDS,
                statement_cache_size=0,
            )
            stack.callback(connection.terminate)
            connections[service] = connection
        return connections

    def _add(self, violations: list[str]) -> None:
        for violation in violations:
            self.first_seen.setdefault(violation, time.monotonic() - self.began)


async def sample(connection: "asyncpg.Connection[asyncpg.Record]", service: str) -> list[str]:
    """Return what is violated now, in one snapshot of the service's database."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        return [row[0] for query in SAMPLED[service] for row in await connection.fetch(query)]

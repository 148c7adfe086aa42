"""Invariants of the three databases together. Each returns its violations, a sentence per violation.

Those without `at_rest` hold at any moment, so they can be checked while the system works. The others hold once
every event is applied and every mail is sent.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import asyncpg

from deploy.demo import cross_service_invariants as cross_service
from deploy.demo.cross_service_invariants import Connection, Databases
from deploy.local.credentials import SERVICES

FindViolations = Callable[[Databases], Awaitable[list[str]]]
POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Invariant:
    """A rule, as a sentence, and the function that finds its violations."""

    name: str
    find: FindViolations
    at_rest: bool = False


@dataclass(frozen=True)
class Finding:
    """The violations of one invariant; none if it holds."""

    name: str
    violations: Sequence[str]


def rows_of(service: str, query: str) -> FindViolations:
    """Run `query` in one service's database. It selects a sentence per violation."""

    async def find(databases: Databases) -> list[str]:
        return [row[0] for row in await databases[service].fetch(query)]

    return find


def rows_of_all(query: str) -> FindViolations:
    """Run `query` in the database of every service. It selects a sentence per violation."""

    async def find(databases: Databases) -> list[str]:
        return [
            f"{service}: {row[0]}" for service, connection in databases.items() for row in await connection.fetch(query)
        ]

    return find


CREDIT_OVER_LIMIT = """
    SELECT format('user %s: %s cents reserved and %s used, but the limit is %s',
                  user_id, reserved_cents, used_cents, limit_cents)
    FROM credit_account
    WHERE reserved_cents < 0 OR used_cents < 0 OR reserved_cents + used_cents > limit_cents
"""
CREDIT_NOT_SUM_OF_ORDERS = """
    SELECT format('user %s: %s cents reserved and %s used, but the orders add up to %s and %s',
                  a.user_id, a.reserved_cents, a.used_cents, r.reserved, r.used)
    FROM credit_account a,
    LATERAL (
        SELECT coalesce(sum(amount_cents) FILTER (WHERE status = 'reserved'), 0) AS reserved,
               coalesce(sum(amount_cents - refunded_cents) FILTER (WHERE status = 'used'), 0) AS used
        FROM credit_reservation WHERE user_id = a.user_id
    ) r
    WHERE (a.reserved_cents, a.used_cents) IS DISTINCT FROM (r.reserved, r.used)
"""
STOCK_OVERSOLD = """
    SELECT format('product %s: %s reserved, but the stock is %s', sku, reserved, stock)
    FROM product WHERE NOT reserved BETWEEN 0 AND stock
"""
STOCK_NOT_SUM_OF_ORDERS = """
    SELECT format('product %s: %s reserved, but the open orders add up to %s', sku, reserved, coalesce(held, 0))
    FROM product
    LEFT JOIN (
        SELECT i.sku, sum(i.quantity) AS held
        FROM order_item i JOIN customer_order o ON o.id = i.order_id
        WHERE o.status IN ('pending', 'confirmed')
        GROUP BY i.sku
    ) open_orders USING (sku)
    WHERE reserved <> coalesce(held, 0)
"""
DEAD_LETTERS = """
    SELECT format('%s could not apply %s of %s %s (%s)', consumer, coalesce(type, 'an event'), topic, key, reason)
    FROM dead_letter WHERE resolution IS NULL
"""
# Sent events are kept for some days only. The oldest of a key may be deleted, but none after that may be missing.
SEQUENCE_GAPS = """
    SELECT format('%s %s: %s events up to sequence %s, but the last sequence is %s',
                  topic, key, events, last, s.sequence)
    FROM (
        SELECT topic, key, count(*) AS events, min(sequence) AS first, max(sequence) AS last
        FROM (SELECT topic, key, sequence FROM outbox UNION ALL SELECT topic, key, sequence FROM outbox_sent) e
        GROUP BY topic, key
    ) e LEFT JOIN event_stream s USING (topic, key)
    WHERE last IS DISTINCT FROM s.sequence OR events <> last - first + 1
"""
PENDING_ORDERS = "SELECT format('order %s is pending', number) FROM customer_order WHERE status = 'pending'"
UNSENT_EVENTS = "SELECT format('%s of %s %s is not sent yet', type, topic, key) FROM outbox"
UNDELIVERED_NOTIFICATIONS = """
    SELECT format('notification %s (%s): %s', n.id, n.event_type,
                  coalesce(string_agg(state, ', ' ORDER BY state), 'no delivery'))
    FROM notification n
    LEFT JOIN (SELECT notification_id, format('%s %s', channel, status) AS state FROM delivery) d
        ON d.notification_id = n.id
    GROUP BY n.id
    HAVING array_agg(state ORDER BY state) IS DISTINCT FROM ARRAY['email sent', 'in_app sent']
"""

INVARIANTS = (
    Invariant("No user's reserved and used credit exceeds the limit", rows_of("users", CREDIT_OVER_LIMIT)),
    Invariant("Each user's credit is the sum of the orders that hold it", rows_of("users", CREDIT_NOT_SUM_OF_ORDERS)),
    Invariant("No product has more units reserved than in stock", rows_of("orders", STOCK_OVERSOLD)),
    Invariant(
        "Each product's reserved units are the sum of its open orders", rows_of("orders", STOCK_NOT_SUM_OF_ORDERS)
    ),
    Invariant("No event is a dead letter", rows_of_all(DEAD_LETTERS)),
    Invariant("No key has a gap in its events", rows_of_all(SEQUENCE_GAPS)),
    # In the order of an event's path: what a step produces after its own check is found by the check of the next step.
    Invariant("No order is pending", rows_of("orders", PENDING_ORDERS), at_rest=True),
    Invariant("Every outbox is empty", rows_of_all(UNSENT_EVENTS), at_rest=True),
    Invariant("Every consumer has reached the last event of every key", cross_service.unconsumed_events, at_rest=True),
    Invariant("Orders and users agree on the credit of each order", cross_service.credit_differences, at_rest=True),
    Invariant("Each user has one welcome notification", cross_service.welcome_differences, at_rest=True),
    Invariant(
        "Each change of an order has one notification", cross_service.order_notification_differences, at_rest=True
    ),
    Invariant(
        "Each notification was sent once per channel", rows_of("notifications", UNDELIVERED_NOTIFICATIONS), at_rest=True
    ),
)


@asynccontextmanager
async def connected(dsns: Mapping[str, str]) -> AsyncIterator[Databases]:
    """Connect to the database of each service. `dsns`: URLs by service, in SQLAlchemy's or libpq's form."""
    async with AsyncExitStack() as stack:
        databases: dict[str, Connection] = {}
        for service in SERVICES:
            connection = await asyncpg.connect(dsns[service].replace("+asyncpg", "", 1), timeout=10)
            stack.push_async_callback(connection.close)
            databases[service] = connection
        yield databases


async def check(databases: Databases, *, at_rest: bool = True) -> list[Finding]:
    """Check every invariant once; without `at_rest` only those that hold at any moment."""
    invariants = [invariant for invariant in INVARIANTS if at_rest or not invariant.at_rest]
    return [Finding(invariant.name, await invariant.find(databases)) for invariant in invariants]


async def check_once_settled(
    databases: Databases, *, within: timedelta, on_wait: Callable[[Sequence[Finding]], None] = lambda _findings: None
) -> list[Finding]:
    """Check every invariant until none is violated, or until the time is over; return the last findings.

    Calls `on_wait` with the violated invariants each time before it waits.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within.total_seconds()
    while True:
        findings = await check(databases)
        if not any(finding.violations for finding in findings) or loop.time() > deadline:
            return findings
        on_wait([finding for finding in findings if finding.violations])
        await asyncio.sleep(POLL_SECONDS)

"""What must be true of the three databases together: each invariant finds its violations, and says them in words.

Those that hold at any moment can be checked while the system works. Those `at_rest` are promises about the end: they
hold once nothing is on its way any more.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import asyncpg

from deploy.demo import agreement
from deploy.demo.agreement import Connection, Databases

Find = Callable[[Databases], Awaitable[list[str]]]
SERVICES = ("users", "orders", "notifications")
POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Invariant:
    """`find` gives the violations, a sentence each."""

    name: str
    find: Find
    at_rest: bool = False


@dataclass(frozen=True)
class Finding:
    """What was found of one invariant."""

    name: str
    violations: Sequence[str]


def rows_of(service: str, violations: str) -> Find:
    """`violations`: SQL that selects one sentence for each."""

    async def find(databases: Databases) -> list[str]:
        return [row[0] for row in await databases[service].fetch(violations)]

    return find


def rows_of_all(violations: str) -> Find:
    """The same SQL in the database of every service."""

    async def find(databases: Databases) -> list[str]:
        return [
            f"{service}: {row[0]}"
            for service, connection in databases.items()
            for row in await connection.fetch(violations)
        ]

    return find


WITHIN_LIMIT = """
    SELECT format('user %s: %s reserved and %s used of %s', user_id, reserved_cents, used_cents, limit_cents)
    FROM credit_account
    WHERE reserved_cents < 0 OR used_cents < 0 OR reserved_cents + used_cents > limit_cents
"""
CREDIT_ADDS_UP = """
    SELECT format('user %s: %s reserved and %s used, by the orders %s and %s',
                  a.user_id, a.reserved_cents, a.used_cents, r.reserved, r.used)
    FROM credit_account a,
    LATERAL (
        SELECT coalesce(sum(amount_cents) FILTER (WHERE status = 'reserved'), 0) AS reserved,
               coalesce(sum(amount_cents - refunded_cents) FILTER (WHERE status = 'used'), 0) AS used
        FROM credit_reservation WHERE user_id = a.user_id
    ) r
    WHERE (a.reserved_cents, a.used_cents) IS DISTINCT FROM (r.reserved, r.used)
"""
STOCK_NOT_OVERSOLD = """
    SELECT format('product %s: %s reserved of %s', sku, reserved, stock)
    FROM product WHERE NOT reserved BETWEEN 0 AND stock
"""
STOCK_ADDS_UP = """
    SELECT format('product %s: %s reserved, by open orders %s', sku, reserved, coalesce(held, 0))
    FROM product
    LEFT JOIN (
        SELECT i.sku, sum(i.quantity) AS held
        FROM order_item i JOIN customer_order o ON o.id = i.order_id
        WHERE o.status IN ('pending', 'confirmed')
        GROUP BY i.sku
    ) open_orders USING (sku)
    WHERE reserved <> coalesce(held, 0)
"""
NO_DEAD_LETTERS = """
    SELECT format('%s parked %s of %s %s: %s', consumer, coalesce(type, 'an event'), topic, key, reason)
    FROM dead_letter WHERE resolution IS NULL
"""
# What was sent is kept for days, not for ever: the oldest may be gone, but from there on none may be missing.
NO_GAP = """
    SELECT format('%s %s: %s events up to %s, the stream is at %s', topic, key, events, last, s.sequence)
    FROM (
        SELECT topic, key, count(*) AS events, min(sequence) AS first, max(sequence) AS last
        FROM (SELECT topic, key, sequence FROM outbox UNION ALL SELECT topic, key, sequence FROM outbox_sent) e
        GROUP BY topic, key
    ) e LEFT JOIN event_stream s USING (topic, key)
    WHERE last IS DISTINCT FROM s.sequence OR events <> last - first + 1
"""
NONE_PENDING = "SELECT format('order %s is pending', number) FROM customer_order WHERE status = 'pending'"
OUTBOX_EMPTY = "SELECT format('%s of %s %s waits to be sent', type, topic, key) FROM outbox"
# An event that tells somebody tells them on every channel, once.
DELIVERED = """
    SELECT format('notification %s (%s): %s', n.id, n.event_type,
                  coalesce(string_agg(state, ', ' ORDER BY state), 'no delivery'))
    FROM notification n
    LEFT JOIN (SELECT notification_id, format('%s %s', channel, status) AS state FROM delivery) d
        ON d.notification_id = n.id
    GROUP BY n.id
    HAVING array_agg(state ORDER BY state) IS DISTINCT FROM ARRAY['email sent', 'in_app sent']
"""

INVARIANTS = (
    Invariant("reserved + used credit is within every user's limit", rows_of("users", WITHIN_LIMIT)),
    Invariant("every user's credit is the sum of the orders that hold it", rows_of("users", CREDIT_ADDS_UP)),
    Invariant("0 <= reserved <= stock for every product", rows_of("orders", STOCK_NOT_OVERSOLD)),
    Invariant("reserved stock is the sum of open orders", rows_of("orders", STOCK_ADDS_UP)),
    Invariant("no event is parked", rows_of_all(NO_DEAD_LETTERS)),
    Invariant("no gap in the events of any key", rows_of_all(NO_GAP)),
    # In this order: what one step leaves behind for the next is looked for later than the step itself.
    Invariant("every order is in an end state", rows_of("orders", NONE_PENDING), at_rest=True),
    Invariant("every outbox is empty", rows_of_all(OUTBOX_EMPTY), at_rest=True),
    Invariant("every event was taken by every reader", agreement.events_not_taken, at_rest=True),
    Invariant("credit and orders agree, order by order", agreement.credit_disagreeing, at_rest=True),
    Invariant("every user was welcomed once", agreement.welcomes_disagreeing, at_rest=True),
    Invariant("one notification for each thing that became of an order", agreement.notices_disagreeing, at_rest=True),
    Invariant("each notification went out once on every channel", rows_of("notifications", DELIVERED), at_rest=True),
)


@asynccontextmanager
async def connected(dsns: Mapping[str, str]) -> AsyncIterator[Databases]:
    """Connect to the databases of users, orders and notifications; SQLAlchemy's form of the URLs will do too."""
    async with AsyncExitStack() as stack:
        databases: dict[str, Connection] = {}
        for service in SERVICES:
            connection = await asyncpg.connect(dsns[service].replace("+asyncpg", "", 1), timeout=10)
            stack.push_async_callback(connection.close)
            databases[service] = connection
        yield databases


async def check(databases: Databases, *, at_rest: bool = True) -> list[Finding]:
    """Look once. Without `at_rest` only at what must hold at any moment."""
    invariants = [invariant for invariant in INVARIANTS if at_rest or not invariant.at_rest]
    return [Finding(invariant.name, await invariant.find(databases)) for invariant in invariants]


async def check_once_settled(
    databases: Databases, *, within: timedelta, tell: Callable[[Sequence[Finding]], None] = lambda _findings: None
) -> list[Finding]:
    """Look until nothing is found; what is found when the time is over stays. `tell` is told each time it must wait."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within.total_seconds()
    while True:
        findings = await check(databases)
        if not any(finding.violations for finding in findings) or loop.time() > deadline:
            return findings
        tell([finding for finding in findings if finding.violations])
        await asyncio.sleep(POLL_SECONDS)

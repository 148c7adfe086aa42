"""Counting what a build has lost: orders that nothing will ever decide, mails that nothing will send, leaked credit.

Something is lost only if every event that was published before was consumed, and no outbox and no dead letter holds
what would decide it. A survey waits until that is so; it takes seconds, while the load goes on.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from deploy.local.control_protocol import BuildCounts
from deploy.wrong_builds.sources import Offsets, Sources
from shared.events.topics import consumer_of

BOUND_SECONDS = 5.0
"""Age of an order at which a survey looks at it. Most are decided by then."""
POLL_SECONDS = 0.5
MAX_SECONDS = 90.0
"""Time for which a survey waits for the consumers. A later survey begins anew."""
MAX_LISTED = 20

_ORDERS = "SELECT id, user_id, status, total_cents FROM customer_order WHERE id = ANY($1::uuid[])"
_IN_OUTBOX = "SELECT DISTINCT key FROM outbox WHERE topic = 'orders' AND key = ANY($1::text[])"
_LAST_ROW_ID = "SELECT coalesce(max(id), 0) FROM outbox"
_HAS_ROWS = "SELECT EXISTS (SELECT FROM outbox WHERE id <= $1)"
_DEAD_LETTERS = "SELECT DISTINCT key FROM dead_letter WHERE resolution IS NULL AND key = ANY($1::text[])"
_RESERVED = (
    "SELECT order_id, amount_cents FROM credit_reservation WHERE order_id = ANY($1::uuid[]) AND status = 'reserved'"
)
_NOTIFIED = """
    SELECT DISTINCT (data->>'order_id')::uuid AS order_id, event_type FROM notification
    WHERE data->>'order_id' = ANY($1::text[])
"""
_DECIDED = ("confirmed", "rejected", "cancelled")


@dataclass
class Findings:
    """The findings of all surveys so far."""

    decided: set[UUID] = field(default_factory=set)
    lost: set[UUID] = field(default_factory=set)
    unnotified: set[UUID] = field(default_factory=set)
    leaked_cents: dict[UUID, int] = field(default_factory=dict)
    problems: set[UUID] = field(default_factory=set)
    """The orders that the last survey looked at, and that were not as they should be at its end."""

    def is_settled(self, order: UUID) -> bool:
        """Return whether the last survey found that the order is decided, and that nothing is missing."""
        return order in self.decided and order not in self.problems and order not in self.lost

    def counts(self, *, accepted: int, failed: int) -> BuildCounts:
        """Return the counters."""
        decided = len(self.decided - self.lost)
        return BuildCounts(
            accepted=accepted,
            failed=failed,
            decided=decided,
            pending=max(0, accepted - decided - len(self.lost)),
            lost=len(self.lost),
            mails_missing=len(self.unnotified),
            credit_leaked_cents=sum(self.leaked_cents.values()),
            lost_orders=[str(each) for each in sorted(self.lost)[:MAX_LISTED]],
        )


@dataclass(frozen=True)
class _Rows:
    """The state of some orders in the three databases."""

    statuses: Mapping[UUID, str]
    users: Mapping[UUID, UUID]
    reserved: Mapping[UUID, int]
    notified: frozenset[tuple[UUID, str]]

    def pending(self) -> set[UUID]:
        return {order for order, status in self.statuses.items() if status == "pending"}

    def unnotified(self) -> set[UUID]:
        return {
            order
            for order, status in self.statuses.items()
            if status in _DECIDED and (order, f"order.{status}") not in self.notified
        }

    def over_with_credit(self) -> set[UUID]:
        return {order for order in self.reserved if self.statuses.get(order) in {"cancelled", "rejected"}}


class Survey:
    """Looks at one build's orders."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    async def run(self, order_ids: Sequence[UUID], findings: Findings) -> None:
        """Update the findings about these orders. Waits for what faults have taken down. Raises: TimeoutError."""
        async with asyncio.timeout(MAX_SECONDS):
            await self._run(order_ids, findings)

    async def _run(self, order_ids: Sequence[UUID], findings: Findings) -> None:
        before = await self._read(order_ids)
        findings.decided |= {order for order, status in before.statuses.items() if status != "pending"}
        suspects = before.pending() | before.unnotified() | before.over_with_credit()
        suspects -= await self._keys("orders", _IN_OUTBOX, suspects)
        if suspects:
            await self._until_consumed("orders", by=("users", "notifications"))
            await self._until_published("users")
            await self._until_consumed("users", by=("orders",))
        # Whatever was on its way then has arrived. What is still missing waits as a dead letter, or is lost.
        after = await self._read(order_ids)
        waiting = await self._waiting(suspects, after)
        doubtful = suspects - waiting
        findings.decided |= {order for order, status in after.statuses.items() if status != "pending"}
        # Those of earlier surveys stay lost when the deadline cancels them, but not if an event decides them.
        findings.lost -= {order for order, status in after.statuses.items() if status not in {"pending", "cancelled"}}
        findings.lost |= before.pending() & after.pending() & doubtful
        same = {order for order in before.statuses if before.statuses[order] == after.statuses.get(order)}
        findings.unnotified -= set(after.statuses) - after.unnotified()
        findings.unnotified |= before.unnotified() & after.unnotified() & doubtful & same
        findings.problems = after.pending() | after.unnotified() | after.over_with_credit()
        leaked = (before.over_with_credit() & after.over_with_credit() & doubtful) | findings.lost
        findings.leaked_cents = {
            **{order: cents for order, cents in findings.leaked_cents.items() if order in after.reserved},
            **{order: after.reserved[order] for order in leaked if order in after.reserved},
        }

    async def _read(self, order_ids: Sequence[UUID]) -> _Rows:
        """Read the orders after what depends on them, so that no change seems to lack its effect."""
        texts = [str(order) for order in order_ids]
        orders = await self._sources.fetch("orders", _ORDERS, order_ids)
        reserved = await self._sources.fetch("users", _RESERVED, order_ids)
        notified = await self._sources.fetch("notifications", _NOTIFIED, texts)
        return _Rows(
            statuses={row["id"]: row["status"] for row in orders},
            users={row["id"]: row["user_id"] for row in orders},
            reserved={row["order_id"]: row["amount_cents"] for row in reserved},
            notified=frozenset((row["order_id"], row["event_type"]) for row in notified),
        )

    async def _keys(self, service: str, query: str, keys: Iterable[UUID]) -> set[UUID]:
        rows = await self._sources.fetch(service, query, [str(key) for key in keys])
        return {UUID(row["key"]) for row in rows}

    async def _waiting(self, orders: set[UUID], rows: _Rows) -> set[UUID]:
        """Return the orders for which a dead letter waits: of the order itself, or of its user's replies."""
        of_orders = {
            order
            for service in ("users", "notifications")
            for order in await self._keys(service, _DEAD_LETTERS, orders)
        }
        users = {rows.users[order] for order in orders if order in rows.users}
        blocked = await self._keys("orders", _DEAD_LETTERS, users)
        return of_orders | {order for order in orders if rows.users.get(order) in blocked}

    async def _until_published(self, service: str) -> None:
        """Wait until the outbox has nothing that is in it now."""
        ((newest,),) = await self._sources.fetch(service, _LAST_ROW_ID)
        while (await self._sources.fetch(service, _HAS_ROWS, newest))[0][0]:  # noqa: ASYNC110
            await asyncio.sleep(POLL_SECONDS)

    async def _until_consumed(self, topic: str, *, by: Sequence[str]) -> None:
        """Wait until services have committed the offsets of everything that is in a topic now."""
        ends = await self._sources.ends(topic)
        for service in by:
            while not await self._has_consumed(consumer_of(service, topic), ends):  # noqa: ASYNC110
                await asyncio.sleep(POLL_SECONDS)

    async def _has_consumed(self, group: str, ends: Offsets) -> bool:
        committed = await self._sources.committed(group)
        return all(committed.get(place, 0) >= end for place, end in ends.items())

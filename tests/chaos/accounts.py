"""The workload's own small domain: credit accounts in the producer, balances and effects in the consumer."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from shared.errors import Problem
from shared.events.users import CreditReleased, CreditReserved
from shared.messaging.consumer.subscription import Subscription
from shared.messaging.envelope import EventContext
from shared.messaging.outbox.outbox import record

TOPIC = "users"
CONSUMER = "consumer.users"
LIMIT_CENTS = 1_000
STEP_CENTS = 100
RULE_VIOLATING_CENTS = 13
"""The consumer's handler raises a Problem for an event of this amount."""
HANDLER_BUG_CENTS = 17
"""The consumer's handler raises an unexpected error for an event of this amount."""

# The oracle compares the events with the ledger: it is written in their transaction, and by no part of the messaging.
PRODUCER_TABLES = (
    "CREATE TABLE account (id uuid PRIMARY KEY, reserved_cents bigint NOT NULL DEFAULT 0)",
    """CREATE TABLE ledger (
        id bigserial PRIMARY KEY, operation uuid NOT NULL, account uuid NOT NULL, event_id uuid NOT NULL,
        UNIQUE (operation, account)
    )""",
)
CONSUMER_TABLES = (
    "CREATE TABLE balance (account text PRIMARY KEY, cents bigint NOT NULL)",
    """CREATE TABLE effect (
        id bigserial PRIMARY KEY, event_id uuid NOT NULL, key text NOT NULL, sequence bigint NOT NULL,
        cents_after bigint NOT NULL
    )""",
)

_LOCK = sa.text("""
    INSERT INTO account (id) VALUES (:id) ON CONFLICT (id) DO UPDATE SET id = excluded.id RETURNING reserved_cents
""")
_ADD_TO_LEDGER = sa.text("INSERT INTO ledger (operation, account, event_id) VALUES (:operation, :account, :event_id)")
_CHANGE = sa.text("UPDATE account SET reserved_cents = reserved_cents + :cents WHERE id = :id")
_BALANCE = sa.text("""
    INSERT INTO balance (account, cents) VALUES (:account, :cents)
    ON CONFLICT (account) DO UPDATE SET cents = balance.cents + excluded.cents RETURNING cents
""")
_EFFECT = sa.text("""
    INSERT INTO effect (event_id, key, sequence, cents_after) VALUES (:event_id, :key, :sequence, :cents_after)
""")


class AmountRejected(Problem):
    """The amount is not accepted."""

    status = 409
    code = "amount_rejected"


@dataclass(frozen=True, kw_only=True)
class Workload:
    """The work of a campaign's writers and consumers. Shares are fractions of the operations."""

    name: str
    accounts: int = 40
    hot_share: float = 0.0
    """Operations on one of the first two accounts."""
    poison_share: float = 0.0
    """Operations whose events the handler cannot apply."""
    garbage_share: float = 0.0
    """Operations followed by a record that is no event."""
    rollback_share: float = 0.1
    """Operations that are rolled back after their events were recorded."""
    interval_seconds: float = 0.01
    """A writer's delay between two operations; a shorter one makes more events."""
    handler_seconds: float = 0.0
    """The time that the handler takes for each event."""
    takes_batches: bool = False
    """Whether the consumer's handler takes many events in one call, as those of the services do."""


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload(name="accounts"),
        Workload(name="hot-keys", accounts=6, hot_share=0.8, takes_batches=True),
        Workload(name="poison", accounts=2_000, poison_share=0.006, garbage_share=0.01, takes_batches=True),
        # 40 to 80 events arrive a second. One consumer applies 50 at most, and the other one is often down.
        Workload(name="slow-consumer", handler_seconds=0.02, interval_seconds=0.1),
    )
}


async def operate(session: AsyncSession, *, operation: UUID, accounts: Sequence[UUID], cents: int) -> None:
    """Reserve credit on each account, or release all of it where the limit would be exceeded; once per operation."""
    if await session.scalar(sa.text("SELECT true FROM ledger WHERE operation = :o LIMIT 1"), {"o": operation}):
        return
    for account in sorted(accounts):
        reserved_cents = (await session.execute(_LOCK, {"id": account})).scalar_one()
        fits = reserved_cents + cents <= LIMIT_CENTS
        event_class = CreditReserved if fits else CreditReleased
        amount_cents = cents if fits else reserved_cents
        event = event_class(user_id=account, order_id=operation, amount_cents=amount_cents, currency="GBP")
        event_id = record(session, event)
        await session.execute(_ADD_TO_LEDGER, {"operation": operation, "account": account, "event_id": event_id})
        await session.execute(_CHANGE, {"id": account, "cents": amount_cents if fits else -amount_cents})


def subscription_of(workload: Workload) -> Subscription:
    """Return the consumer's handlers: they keep each account's balance, and add a row for every applied event."""
    users = Subscription(TOPIC)

    async def apply_one(session: AsyncSession, event: CreditReserved | CreditReleased, context: EventContext) -> None:
        await asyncio.sleep(workload.handler_seconds)
        await _apply(session, event, context)

    async def apply_all(
        session: AsyncSession, events: Sequence[tuple[CreditReserved | CreditReleased, EventContext]]
    ) -> None:
        for event, context in events:
            await apply_one(session, event, context)

    if workload.takes_batches:
        users.on_batch(CreditReserved, CreditReleased)(apply_all)
    else:
        users.on(CreditReserved)(apply_one)
        users.on(CreditReleased)(apply_one)
    return users


async def _apply(session: AsyncSession, event: CreditReserved | CreditReleased, context: EventContext) -> None:
    cents = event.amount_cents if isinstance(event, CreditReserved) else -event.amount_cents
    cents_after = (await session.execute(_BALANCE, {"account": context.key, "cents": cents})).scalar_one()
    await session.execute(
        _EFFECT,
        {
            "event_id": context.event_id,
            "key": context.key,
            "sequence": context.sequence,
            "cents_after": cents_after,
        },
    )
    if cents == RULE_VIOLATING_CENTS:
        raise AmountRejected
    if cents == HANDLER_BUG_CENTS:
        raise ZeroDivisionError("the handler has a bug")

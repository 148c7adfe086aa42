"""The workload's own small domain: credit accounts on the sending side, balances and effects on the reading side."""

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
READER = "reader.users"
LIMIT_CENTS = 1_000
STEP_CENTS = 100
REFUSED_CENTS = 13
BROKEN_CENTS = 17

# The ledger is what the events are judged by: written in their transaction, and by no part of the messaging.
SENDER_TABLES = (
    "CREATE TABLE account (id uuid PRIMARY KEY, reserved_cents bigint NOT NULL DEFAULT 0)",
    """CREATE TABLE ledger (
        id bigserial PRIMARY KEY, operation uuid NOT NULL, account uuid NOT NULL, event_id uuid NOT NULL,
        UNIQUE (operation, account)
    )""",
)
READER_TABLES = (
    "CREATE TABLE balance (account text PRIMARY KEY, cents bigint NOT NULL)",
    """CREATE TABLE effect (
        id bigserial PRIMARY KEY, event_id uuid NOT NULL, key text NOT NULL, sequence bigint NOT NULL,
        cents_after bigint NOT NULL
    )""",
)

_LOCK = sa.text("""
    INSERT INTO account (id) VALUES (:id) ON CONFLICT (id) DO UPDATE SET id = excluded.id RETURNING reserved_cents
""")
_NOTE = sa.text("INSERT INTO ledger (operation, account, event_id) VALUES (:operation, :account, :event_id)")
_CHANGE = sa.text("UPDATE account SET reserved_cents = reserved_cents + :cents WHERE id = :id")
_BALANCE = sa.text("""
    INSERT INTO balance (account, cents) VALUES (:account, :cents)
    ON CONFLICT (account) DO UPDATE SET cents = balance.cents + excluded.cents RETURNING cents
""")
_EFFECT = sa.text("""
    INSERT INTO effect (event_id, key, sequence, cents_after) VALUES (:event_id, :key, :sequence, :cents_after)
""")


class NotWanted(Problem):
    """The reader refuses this one for good."""

    status = 409
    code = "not_wanted"


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What the writers and the readers are made to do."""

    name: str
    accounts: int = 40
    hot_share: float = 0.0
    """Of the operations, on one of the first two accounts."""
    poison_share: float = 0.0
    garbage_share: float = 0.0
    """Of the operations, followed by a record that is no event at all."""
    abandoned_share: float = 0.1
    pause_seconds: float = 0.01
    handler_seconds: float = 0.0


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload(name="accounts"),
        Workload(name="hot-keys", accounts=6, hot_share=0.8),
        Workload(name="poison", accounts=2_000, poison_share=0.006, garbage_share=0.01),
        # One reader takes 50 events a second at best, and the other is often away: 40 to 80 come, as the machine goes.
        Workload(name="slow-consumer", handler_seconds=0.02, pause_seconds=0.1),
    )
}


async def operate(session: AsyncSession, *, operation: UUID, accounts: Sequence[UUID], cents: int) -> None:
    """Reserve credit on each account, or give all of it back where the limit would be passed; once per operation."""
    if await session.scalar(sa.text("SELECT true FROM ledger WHERE operation = :o LIMIT 1"), {"o": operation}):
        return
    for account in sorted(accounts):
        reserved_cents = (await session.execute(_LOCK, {"id": account})).scalar_one()
        fits = reserved_cents + cents <= LIMIT_CENTS
        event_class = CreditReserved if fits else CreditReleased
        amount_cents = cents if fits else reserved_cents
        event = event_class(user_id=account, order_id=operation, amount_cents=amount_cents, currency="GBP")
        event_id = record(session, event)
        await session.execute(_NOTE, {"operation": operation, "account": account, "event_id": event_id})
        await session.execute(_CHANGE, {"id": account, "cents": amount_cents if fits else -amount_cents})


def reader(workload: Workload) -> Subscription:
    """Keeps each account's balance, and a row for every event that it applied."""
    users = Subscription(TOPIC)

    @users.on(CreditReserved)
    async def add(session: AsyncSession, event: CreditReserved, context: EventContext) -> None:
        await _apply(session, context, cents=event.amount_cents, seconds=workload.handler_seconds)
        if event.amount_cents == REFUSED_CENTS:
            raise NotWanted
        if event.amount_cents == BROKEN_CENTS:
            raise ZeroDivisionError("the handler has a bug")

    @users.on(CreditReleased)
    async def subtract(session: AsyncSession, event: CreditReleased, context: EventContext) -> None:
        await _apply(session, context, cents=-event.amount_cents, seconds=workload.handler_seconds)

    return users


async def _apply(session: AsyncSession, context: EventContext, *, cents: int, seconds: float) -> None:
    if seconds:
        await asyncio.sleep(seconds)
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

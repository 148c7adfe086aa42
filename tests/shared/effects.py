"""Events of a test's topic, and handlers that insert a row into the table `effect` for each event they apply."""

from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database import Database
from shared.errors import Problem
from shared.events.users import CreditRefused, CreditReserved
from shared.ids import new_id
from shared.messaging.consumer.batch import apply_batch
from shared.messaging.consumer.progress import BatchResult
from shared.messaging.consumer.subscription import Subscription
from shared.messaging.envelope import EventContext, Received
from tests.harness.rows import Rows

EFFECT_TABLE = """
    CREATE TABLE effect (id bigserial PRIMARY KEY, event_id uuid NOT NULL, key text NOT NULL, sequence bigint NOT NULL)
"""
CONSUMER = "test.users"
REJECTED_CENTS = 666
"""The handler raises a Problem for an event with this amount."""
FAILING_CENTS = 667
"""The handler raises an unexpected error for an event with this amount."""


class EventRejected(Problem):
    """The test's handler rejects this event."""

    status = 409
    code = "event_rejected"


def credit_reserved(user_id: UUID | None = None, *, cents: int = 100) -> CreditReserved:
    """Return an event that the test's subscription handles."""
    return CreditReserved(user_id=user_id or new_id(), order_id=new_id(), amount_cents=cents, currency="GBP")


def credit_refused(user_id: UUID) -> CreditRefused:
    """Return an event of the same topic that the test's subscription ignores."""
    return CreditRefused(user_id=user_id, order_id=new_id(), amount_cents=100, currency="GBP", reason="limit_exceeded")


def subscription() -> Subscription:
    """Return a subscription that adds an effect for each event, and fails for REJECTED_CENTS and FAILING_CENTS."""
    users = Subscription("users")

    @users.on(CreditReserved)
    async def apply(session: AsyncSession, event: CreditReserved, context: EventContext) -> None:
        await add_effects(session, context)
        fail_for(event.amount_cents)

    return users


def failing_first(*errors: Exception) -> Subscription:
    """Return a subscription whose first calls raise these errors; later calls add an effect."""
    users, left = Subscription("users"), list(errors)

    @users.on(CreditReserved)
    async def apply(session: AsyncSession, _event: CreditReserved, context: EventContext) -> None:
        if left:
            raise left.pop(0)
        await add_effects(session, context)

    return users


async def add_effects(session: AsyncSession, *contexts: EventContext) -> None:
    """Insert an effect for each event."""
    await session.execute(
        sa.text("INSERT INTO effect (event_id, key, sequence) VALUES (:event_id, :key, :sequence)"),
        [{"event_id": context.event_id, "key": context.key, "sequence": context.sequence} for context in contexts],
    )


def fail_for(cents: int) -> None:
    """Raise the error that an event's amount stands for, if any."""
    if cents == REJECTED_CENTS:
        raise EventRejected
    if cents == FAILING_CENTS:
        raise ZeroDivisionError("the handler has a bug")


def has_effects(database: Database, count: int) -> Callable[[], Awaitable[bool]]:
    """Return a condition: at least this many events were applied."""

    async def reached() -> bool:
        return await Rows(database.sessions).count("effect") >= count

    return reached


def sequences_by_key(effects: Sequence[tuple[str, int]]) -> dict[str, list[int]]:
    """Return the sequences of each key, in the order in which they were applied."""
    by_key: dict[str, list[int]] = {}
    for key, sequence in effects:
        by_key.setdefault(key, []).append(sequence)
    return by_key


async def applied(database: Database, *events: Received, in_savepoints: bool = False) -> BatchResult:
    """Apply and commit a batch."""
    async with database.sessions.begin() as session:
        return await apply_batch(
            session,
            consumer=CONSUMER,
            subscription=subscription(),
            events=events,
            savepoints=[event.place for event in events] if in_savepoints else [],
        )

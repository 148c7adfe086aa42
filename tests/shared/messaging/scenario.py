"""The events, handlers and questions that the messaging tests share."""

from collections.abc import Sequence
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from shared.errors import Problem
from shared.events.users import CreditRefused, CreditReserved
from shared.ids import new_id
from shared.messaging.consumer.subscription import Subscription
from shared.messaging.envelope import EventContext

EFFECT_TABLE = """
    CREATE TABLE effect (id bigserial PRIMARY KEY, event_id uuid NOT NULL, key text NOT NULL, sequence bigint NOT NULL)
"""
CONSUMER = "test.users"
REFUSED_CENTS = 666
BROKEN_CENTS = 667


class NotWanted(Problem):
    """The test's handler does not want this one."""

    status = 409
    code = "not_wanted"


def credit_reserved(user_id: UUID | None = None, *, cents: int = 100) -> CreditReserved:
    """An event that the test's subscription handles; REFUSED_CENTS and BROKEN_CENTS make its handler fail."""
    return CreditReserved(user_id=user_id or new_id(), order_id=new_id(), amount_cents=cents, currency="GBP")


def credit_refused(user_id: UUID) -> CreditRefused:
    """An event of the same topic that the test's subscription ignores."""
    return CreditRefused(user_id=user_id, order_id=new_id(), amount_cents=100, currency="GBP", reason="limit_exceeded")


def subscription() -> Subscription:
    """Writes a row of `effect` for every event it handles."""
    users = Subscription("users")

    @users.on(CreditReserved)
    async def note(session: AsyncSession, event: CreditReserved, context: EventContext) -> None:
        await session.execute(
            sa.text("INSERT INTO effect (event_id, key, sequence) VALUES (:event_id, :key, :sequence)"),
            {"event_id": context.event_id, "key": context.key, "sequence": context.sequence},
        )
        if event.amount_cents == REFUSED_CENTS:
            raise NotWanted
        if event.amount_cents == BROKEN_CENTS:
            raise ZeroDivisionError("the handler has a bug")

    return users


def sequences_by_key(effects: Sequence[tuple[str, int]]) -> dict[str, list[int]]:
    """The sequences of each key, in the order in which they were applied."""
    by_key: dict[str, list[int]] = {}
    for key, sequence in effects:
        by_key.setdefault(key, []).append(sequence)
    return by_key

"""Handlers that take many events get neighbours together, and lose neither order nor isolation by it."""

from collections.abc import Sequence

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database import Database
from shared.events.orders import OrderCreated
from shared.events.users import CreditRefused, CreditReleased, CreditReserved
from shared.ids import new_id
from shared.messaging.consumer.batch import HandlerFailed, apply_batch
from shared.messaging.consumer.subscription import Subscription
from shared.messaging.envelope import EventContext, Received
from tests.harness.builders import received
from tests.harness.rows import Rows
from tests.shared.messaging.scenario import (
    BROKEN_CENTS,
    CONSUMER,
    REFUSED_CENTS,
    NotWanted,
    credit_refused,
    credit_reserved,
)

Calls = list[list[tuple[str, int]]]
_NOTE = sa.text("INSERT INTO effect (event_id, key, sequence) VALUES (:event_id, :key, :sequence)")


def batching(calls: Calls) -> Subscription:
    """Notes an effect for each event, and in `calls` which events came together; refusals come alone."""
    users = Subscription("users")

    @users.on_batch(CreditReserved, CreditReleased)
    async def note_all(
        session: AsyncSession, events: Sequence[tuple[CreditReserved | CreditReleased, EventContext]]
    ) -> None:
        calls.append([(context.key, context.sequence) for _, context in events])
        await session.execute(
            _NOTE,
            [{"event_id": context.event_id, "key": context.key, "sequence": context.sequence} for _, context in events],
        )
        if any(event.amount_cents == REFUSED_CENTS for event, _ in events):
            raise NotWanted
        if any(event.amount_cents == BROKEN_CENTS for event, _ in events):
            raise ZeroDivisionError("the handler has a bug")

    @users.on(CreditRefused)
    async def note_one(_session: AsyncSession, _event: CreditRefused, context: EventContext) -> None:
        calls.append([(context.key, context.sequence)])

    return users


async def applied(database: Database, calls: Calls, *events: Received, savepoints: bool = False) -> None:
    """One committed slice."""
    async with database.sessions.begin() as session:
        await apply_batch(
            session,
            consumer=CONSUMER,
            subscription=batching(calls),
            events=events,
            savepoints=[event.offset for event in events] if savepoints else [],
        )


async def test_neighbours_of_one_handler_come_together_and_others_between_them_keep_their_place(
    database: Database,
) -> None:
    one, other = new_id(), new_id()
    calls: Calls = []
    await applied(
        database,
        calls,
        received(credit_reserved(one), sequence=1),
        received(credit_reserved(other), sequence=1),
        received(
            CreditReleased(user_id=one, order_id=new_id(), amount_cents=100, currency="GBP"),
            sequence=2,
        ),
        received(credit_refused(one), sequence=3),
        received(credit_reserved(one), sequence=4),
    )
    assert calls == [
        [(str(one), 1), (str(other), 1), (str(one), 2)],
        [(str(one), 3)],
        [(str(one), 4)],
    ]


async def test_a_repeated_event_does_not_come_again(database: Database) -> None:
    user_id = new_id()
    calls: Calls = []
    event = received(credit_reserved(user_id), sequence=1)
    await applied(database, calls, event, event)
    await applied(database, calls, event, received(credit_reserved(user_id), sequence=2))
    assert calls == [[(str(user_id), 1)], [(str(user_id), 2)]]


async def test_one_that_fails_among_many_is_found_and_parked_alone(database: Database) -> None:
    good, refused, broken = new_id(), new_id(), new_id()
    events = [
        received(credit_reserved(good), sequence=1),
        received(credit_reserved(refused, cents=REFUSED_CENTS), sequence=1),
        received(credit_reserved(broken, cents=BROKEN_CENTS), sequence=1),
        received(credit_reserved(good), sequence=2),
    ]
    with pytest.raises(HandlerFailed) as failed:
        await applied(database, [], *events)
    assert failed.value.offsets == {event.offset for event in events}
    await applied(database, [], *events, savepoints=True)
    rows = Rows(database.sessions)
    assert await rows.effects() == [(str(good), 1), (str(good), 2)]
    assert await rows.dead_letters() == [(str(refused), 1, "rule_violated"), (str(broken), 1, "retrying")]


def test_a_type_has_one_handler_and_its_own_topic() -> None:
    users = batching([])
    with pytest.raises(ValueError, match="has a handler already"):
        users.on(CreditReserved)(_nothing)
    with pytest.raises(ValueError, match="is sent on orders, not on users"):
        users.on(OrderCreated)(_nothing)


async def _nothing(_session: AsyncSession, _event: object, _context: EventContext) -> None:
    pass

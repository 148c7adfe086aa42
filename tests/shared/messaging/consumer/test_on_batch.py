"""Handlers that take several events get neighbouring events in one call, in order and isolated from failures."""

from collections.abc import Sequence

import pytest
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
from tests.shared.effects import (
    CONSUMER,
    FAILING_CENTS,
    REJECTED_CENTS,
    add_effects,
    credit_refused,
    credit_reserved,
    fail_for,
)

Calls = list[list[tuple[str, int]]]


def batching(calls: Calls) -> Subscription:
    """Return a subscription that adds effects and appends the events of each call to `calls`.

    `CreditRefused` has a handler for single events.
    """
    users = Subscription("users")

    @users.on_batch(CreditReserved, CreditReleased)
    async def apply_all(
        session: AsyncSession, events: Sequence[tuple[CreditReserved | CreditReleased, EventContext]]
    ) -> None:
        calls.append([(context.key, context.sequence) for _, context in events])
        await add_effects(session, *(context for _, context in events))
        for event, _ in events:
            fail_for(event.amount_cents)

    @users.on(CreditRefused)
    async def apply_one(_session: AsyncSession, _event: CreditRefused, context: EventContext) -> None:
        calls.append([(context.key, context.sequence)])

    return users


async def applied(database: Database, calls: Calls, *events: Received, savepoints: bool = False) -> None:
    """Apply and commit a batch."""
    async with database.sessions.begin() as session:
        await apply_batch(
            session,
            consumer=CONSUMER,
            subscription=batching(calls),
            events=events,
            savepoints=[event.place for event in events] if savepoints else [],
        )


async def test_neighbouring_events_of_one_handler_come_in_one_call(database: Database) -> None:
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


async def test_a_repeated_event_is_not_passed_to_the_handler(database: Database) -> None:
    user_id = new_id()
    calls: Calls = []
    event = received(credit_reserved(user_id), sequence=1)
    await applied(database, calls, event, event)
    await applied(database, calls, event, received(credit_reserved(user_id), sequence=2))
    assert calls == [[(str(user_id), 1)], [(str(user_id), 2)]]


async def test_only_the_failing_events_of_a_call_become_dead_letters(database: Database) -> None:
    good, rejected, failing = new_id(), new_id(), new_id()
    events = [
        received(credit_reserved(good), sequence=1),
        received(credit_reserved(rejected, cents=REJECTED_CENTS), sequence=1),
        received(credit_reserved(failing, cents=FAILING_CENTS), sequence=1),
        received(credit_reserved(good), sequence=2),
    ]
    with pytest.raises(HandlerFailed) as failed:
        await applied(database, [], *events)
    assert failed.value.places == {event.place for event in events}
    await applied(database, [], *events, savepoints=True)
    rows = Rows(database.sessions)
    assert await rows.effects() == [(str(good), 1), (str(good), 2)]
    assert await rows.dead_letters() == [(str(rejected), 1, "rule_violated"), (str(failing), 1, "retrying")]


async def test_a_failing_event_is_found_by_halving_its_call(database: Database) -> None:
    """One poison event among many costs a few calls, not one for each event."""
    keys = [new_id() for _ in range(64)]
    events = [
        received(credit_reserved(key, cents=FAILING_CENTS if number == 21 else 100), sequence=1)
        for number, key in enumerate(keys)
    ]
    calls: Calls = []
    await applied(database, calls, *events, savepoints=True)
    sizes = [len(call) for call in calls]
    # Each failing call and both halves of it, in order: 32 (0-31), 16 (0-15), 16 (16-31), 8 (16-23), ...
    assert sizes == [32, 16, 16, 8, 4, 4, 2, 1, 1, 2, 8, 32]
    rows = Rows(database.sessions)
    assert await rows.effects() == sorted((str(key), 1) for number, key in enumerate(keys) if number != 21)
    assert await rows.dead_letters() == [(str(keys[21]), 1, "retrying")]


async def test_later_events_of_a_call_are_blocked_by_the_one_that_fails(database: Database) -> None:
    """Even those of another handler, which were next to be applied."""
    failing, good = new_id(), new_id()
    calls: Calls = []
    await applied(
        database,
        calls,
        received(credit_reserved(failing), sequence=1),
        received(credit_reserved(failing, cents=FAILING_CENTS), sequence=2),
        received(credit_reserved(good), sequence=1),
        received(credit_reserved(failing), sequence=3),
        received(credit_refused(failing), sequence=4),
        received(credit_refused(good), sequence=2),
        savepoints=True,
    )
    rows = Rows(database.sessions)
    assert await rows.effects() == [(str(failing), 1), (str(good), 1)]
    assert await rows.dead_letters() == [
        (str(failing), 2, "retrying"),
        (str(failing), 3, "blocked"),
        (str(failing), 4, "blocked"),
    ]
    assert calls[-1] == [(str(good), 2)]


async def test_an_event_is_applied_before_a_later_one_of_its_key_becomes_a_dead_letter(database: Database) -> None:
    key, other = new_id(), new_id()
    valid, invalid = received(credit_reserved(key), sequence=1), received(credit_reserved(key), sequence=2)
    await applied(database, [], valid, invalid._replace(value=b"{}"), received(credit_reserved(other), sequence=1))
    rows = Rows(database.sessions)
    assert await rows.effects() == sorted([(str(key), 1), (str(other), 1)])
    assert await rows.dead_letters() == [(str(key), 2, "invalid")]


def test_a_type_has_one_handler_and_belongs_to_its_topic() -> None:
    users = batching([])
    with pytest.raises(ValueError, match="has a handler already"):
        users.on(CreditReserved)(_nothing)
    with pytest.raises(ValueError, match="is sent on orders, not on users"):
        users.on(OrderCreated)(_nothing)


async def _nothing(_session: AsyncSession, _event: object, _context: EventContext) -> None:
    pass

"""One key's dead letters are replayed in order, or discarded one by one, and every action is recorded."""

import asyncio
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database import Database
from shared.events.users import CreditReserved
from shared.ids import new_id
from shared.messaging.consumer.batch import apply_batch
from shared.messaging.consumer.subscription import Subscription
from shared.messaging.dead_letters.queries import (
    ConsumerKey,
    DeadLetterFilter,
    find_dead_letter,
    list_dead_letters,
)
from shared.messaging.dead_letters.reason import DeadLetterReason
from shared.messaging.envelope import EventContext, Received
from shared.operations.discard import discard_one
from shared.operations.replay import NOT_NAMED, keys_to_drain, replay_key
from tests.harness.builders import received
from tests.harness.rows import Rows
from tests.shared.effects import CONSUMER, FAILING_CENTS, REJECTED_CENTS, credit_reserved, subscription
from tests.shared.operations.blocked_keys import ACTOR, store_as_dead_letter


async def apply(database: Database, user_id: UUID, *sequences: int) -> None:
    """Apply a batch with an event for each sequence."""
    async with database.sessions.begin() as session:
        await apply_batch(
            session,
            consumer=CONSUMER,
            subscription=subscription(),
            events=[received(credit_reserved(user_id), sequence=n) for n in sequences],
        )


def event_of(user_id: UUID, sequence: int, *, cents: int = 100) -> Received:
    return received(credit_reserved(user_id, cents=cents), sequence=sequence)


async def replay(
    database: Database, user_id: UUID, handlers: Subscription | None = None, **options: Any
) -> tuple[int, str | None]:
    """Replay one key; return how many events were applied, and the error that stopped it."""
    key = ConsumerKey(CONSUMER, "users", str(user_id))
    outcome = await replay_key(database.sessions, key, subscription=handlers or subscription(), actor=ACTOR, **options)
    return outcome.applied, outcome.error


async def test_a_replay_applies_a_key_in_order_and_unblocks_it(database: Database) -> None:
    user_id = new_id()
    await apply(database, user_id, 1)
    await store_as_dead_letter(database.sessions, event_of(user_id, 2))
    await apply(database, user_id, 3, 4)
    assert await replay(database, user_id) == (3, None)
    await apply(database, user_id, 5)
    rows = Rows(database.sessions)
    assert await rows.effects() == [(str(user_id), n) for n in range(1, 6)]
    assert await rows.of("SELECT sequence, dead_letters FROM inbox_sequence") == [(5, 0)]
    assert await replay(database, user_id) == (0, None)


async def test_a_replay_stops_at_the_first_failure_and_records_it(database: Database) -> None:
    user_id = new_id()
    await store_as_dead_letter(database.sessions, event_of(user_id, 1))
    await store_as_dead_letter(database.sessions, event_of(user_id, 2, cents=REJECTED_CENTS))
    await apply(database, user_id, 3)
    assert await replay(database, user_id) == (1, "event_rejected: The test's handler rejects this event")
    rows = Rows(database.sessions)
    assert await rows.effects() == [(str(user_id), 1)]
    assert await rows.of("SELECT action, outcome, actor FROM dead_letter_action ORDER BY id") == [
        ("replay", "done", ACTOR),
        ("replay", "failed", ACTOR),
    ]
    assert await rows.of("SELECT dead_letters FROM inbox_sequence") == [(2,)]


async def test_a_discard_makes_the_events_that_it_blocked_due_for_the_drain(database: Database) -> None:
    user_id = new_id()
    await store_as_dead_letter(database.sessions, event_of(user_id, 1, cents=REJECTED_CENTS))
    await apply(database, user_id, 2)
    async with database.sessions() as session:
        (first, _blocked) = await list_dead_letters(session, wanted=DeadLetterFilter())
        assert await keys_to_drain(session, consumers=[CONSUMER], limit=100) == []
    assert await discard_one(database.sessions, first, actor=ACTOR, note="a test order")
    assert not await discard_one(database.sessions, first, actor=ACTOR, note="again")
    async with database.sessions() as session:
        assert await keys_to_drain(session, consumers=[CONSUMER], limit=100) == [(CONSUMER, "users", str(user_id))]
        detail = await find_dead_letter(session, first.id)
    assert await replay(database, user_id) == (1, None)
    assert detail is not None
    assert [(action["actor"], action["action"], action["detail"]) for action in detail.actions] == [
        (ACTOR, "discard", "a test order")
    ]
    assert await Rows(database.sessions).effects() == [(str(user_id), 2)]


async def test_concurrent_replays_and_consumption_apply_each_event_once_in_order(database: Database) -> None:
    user_id = new_id()
    for sequence in range(1, 6):
        await store_as_dead_letter(database.sessions, event_of(user_id, sequence))
    await asyncio.gather(replay(database, user_id), replay(database, user_id), apply(database, user_id, 6))
    await replay(database, user_id)
    assert await Rows(database.sessions).effects() == [(str(user_id), n) for n in range(1, 7)]


async def test_a_replay_stops_at_a_dead_letter_that_is_out_of_order_unless_it_is_named(database: Database) -> None:
    user_id = new_id()
    await apply(database, user_id, 5)
    await store_as_dead_letter(database.sessions, event_of(user_id, 6))
    await apply(database, user_id, 3, 7)
    assert await replay(database, user_id) == (1, NOT_NAMED)
    named = DeadLetterFilter(reason=DeadLetterReason.OUT_OF_ORDER)
    assert await replay(database, user_id, is_named=named.names) == (2, None)
    rows = Rows(database.sessions)
    assert await rows.effects() == [(str(user_id), n) for n in (5, 6, 3, 7)]
    assert await rows.of("SELECT outcome FROM dead_letter_action") == [("done",)] * 3


async def test_a_transient_error_ends_a_replay_without_a_recorded_failure(database: Database) -> None:
    users, user_id = Subscription("users"), new_id()

    @users.on(CreditReserved)
    async def fail(_session: AsyncSession, _event: CreditReserved, _context: EventContext) -> None:
        raise ConnectionError

    await store_as_dead_letter(database.sessions, event_of(user_id, 1))
    with pytest.raises(ConnectionError):
        await replay(database, user_id, users)
    rows = Rows(database.sessions)
    assert await rows.dead_letters() == [(str(user_id), 1, "rule_violated")]
    assert await rows.count("dead_letter_action") == 0
    assert await replay(database, user_id) == (1, None)


async def test_a_rejected_event_keeps_its_reason_when_its_replay_fails_with_another_error(database: Database) -> None:
    """Otherwise the drain would retry what an operator has to decide."""
    user_id = new_id()
    await store_as_dead_letter(database.sessions, event_of(user_id, 1, cents=FAILING_CENTS))
    applied, error = await replay(database, user_id)
    assert (applied, (error or "").partition(",")[0]) == (0, "ZeroDivisionError: in fail_for")
    assert await Rows(database.sessions).dead_letters() == [(str(user_id), 1, "rule_violated")]


async def test_a_replay_leaves_other_consumers_alone(database: Database) -> None:
    user_id = new_id()
    await store_as_dead_letter(database.sessions, event_of(user_id, 1), consumer="another.users")
    assert await replay(database, user_id) == (0, None)
    assert await Rows(database.sessions).dead_letters() == [(str(user_id), 1, "rule_violated")]

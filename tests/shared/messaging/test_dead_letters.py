"""Parked events are looked at, applied again in their key's order, or discarded, and all of it is on record."""

import asyncio
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database import Database
from shared.events.users import CreditReserved
from shared.ids import new_id
from shared.messaging.consumer.batch import apply_batch, store_dead_letter
from shared.messaging.consumer.subscription import Subscription
from shared.messaging.dead_letters.queries import (
    BlockedKey,
    ConsumerKey,
    DeadLetterFilter,
    blocked_keys,
    find_dead_letter,
    list_dead_letters,
)
from shared.messaging.dead_letters.reason import DeadLetterReason
from shared.messaging.dead_letters.store import NewDeadLetter
from shared.messaging.envelope import EventContext
from shared.operations.replay import discard_one, keys_to_drain, replay_key
from tests.harness.builders import received
from tests.harness.rows import Rows
from tests.shared.messaging.scenario import BROKEN_CENTS, CONSUMER, REFUSED_CENTS, credit_reserved, subscription

ACTOR = "operator@example.com"


async def apply(database: Database, user_id: UUID, *sequences: int) -> None:
    """A slice with an event for each sequence."""
    async with database.sessions.begin() as session:
        await apply_batch(
            session,
            consumer=CONSUMER,
            subscription=subscription(),
            events=[received(credit_reserved(user_id), sequence=n) for n in sequences],
        )


async def store(database: Database, user_id: UUID, sequence: int, *, cents: int = 100) -> None:
    """One event that was refused when it came; with REFUSED_CENTS it is refused again."""
    async with database.sessions.begin() as session:
        await store_dead_letter(
            session,
            consumer=CONSUMER,
            topic="users",
            dead_letter=NewDeadLetter(
                received(credit_reserved(user_id, cents=cents), sequence=sequence),
                DeadLetterReason.RULE_VIOLATED,
                "not wanted",
            ),
        )


async def replay(database: Database, user_id: UUID, handlers: Subscription | None = None) -> tuple[int, str | None]:
    """Replay one key; how many were applied, and why it stopped."""
    key = ConsumerKey(CONSUMER, "users", str(user_id))
    outcome = await replay_key(database.sessions, key, subscription=handlers or subscription(), actor=ACTOR)
    return outcome.applied, outcome.error


async def test_a_replay_applies_a_key_in_order_and_lets_it_flow_again(database: Database) -> None:
    user_id = new_id()
    await apply(database, user_id, 1)
    await store(database, user_id, 2)
    await apply(database, user_id, 3, 4)
    assert await replay(database, user_id) == (3, None)
    await apply(database, user_id, 5)
    rows = Rows(database.sessions)
    assert await rows.effects() == [(str(user_id), n) for n in range(1, 6)]
    assert await rows.of("SELECT sequence, dead_letters FROM inbox_sequence") == [(5, 0)]
    assert await replay(database, user_id) == (0, None)


async def test_a_replay_stops_at_the_first_failure_and_says_why(database: Database) -> None:
    user_id = new_id()
    await store(database, user_id, 1)
    await store(database, user_id, 2, cents=REFUSED_CENTS)
    await apply(database, user_id, 3)
    applied, why = await replay(database, user_id)
    rows = Rows(database.sessions)
    assert (applied, why) == (1, "not_wanted: The test's handler does not want this one")
    assert await rows.effects() == [(str(user_id), 1)]
    assert await rows.of("SELECT action, outcome, actor FROM dead_letter_action ORDER BY id") == [
        ("replay", "done", ACTOR),
        ("replay", "failed", ACTOR),
    ]
    assert await rows.of("SELECT dead_letters FROM inbox_sequence") == [(2,)]


async def test_after_a_discard_what_stood_behind_is_due_to_drain(database: Database) -> None:
    user_id = new_id()
    await store(database, user_id, 1, cents=REFUSED_CENTS)
    await apply(database, user_id, 2)
    async with database.sessions() as session:
        (poison, _behind) = await list_dead_letters(session, wanted=DeadLetterFilter())
        assert await keys_to_drain(session) == []
    assert await discard_one(database.sessions, 999, actor=ACTOR, note="a test order") is None
    assert await discard_one(database.sessions, poison.id, actor=ACTOR, note="a test order") == poison
    assert await discard_one(database.sessions, poison.id, actor=ACTOR, note="again") is None
    async with database.sessions() as session:
        assert await keys_to_drain(session) == [(CONSUMER, "users", str(user_id))]
        detail = await find_dead_letter(session, poison.id)
    assert await replay(database, user_id) == (1, None)
    assert detail is not None
    assert [(one["actor"], one["action"], one["detail"]) for one in detail.actions] == [
        (ACTOR, "discard", "a test order")
    ]
    assert await Rows(database.sessions).effects() == [(str(user_id), 2)]


async def test_filters_choose_by_consumer_key_type_reason_and_id(database: Database) -> None:
    one, other = new_id(), new_id()
    await store(database, one, 1)
    await apply(database, one, 2)
    await store(database, other, 1)
    async with database.sessions() as session:
        everything = await list_dead_letters(session, wanted=DeadLetterFilter())
        behind = await list_dead_letters(session, wanted=DeadLetterFilter(reason=DeadLetterReason.BLOCKED))
        of_key = await list_dead_letters(session, wanted=DeadLetterFilter(key=str(one), consumer=CONSUMER))
        paged = await list_dead_letters(session, wanted=DeadLetterFilter(), after_id=everything[0].id, limit=1)
        of_other_type = await list_dead_letters(session, wanted=DeadLetterFilter(type="user.created"))
        keys = await blocked_keys(session, wanted=DeadLetterFilter(id=everything[1].id))
    assert [(event.key, event.sequence) for event in everything] == [(str(one), 1), (str(one), 2), (str(other), 1)]
    assert (behind, of_key, paged, of_other_type) == ([everything[1]], everything[:2], [everything[1]], [])
    assert keys == [BlockedKey(ConsumerKey(CONSUMER, "users", str(one)), 2, everything[0])]


async def test_two_replays_and_consumption_at_once_apply_each_event_once_in_order(database: Database) -> None:
    user_id = new_id()
    for sequence in range(1, 6):
        await store(database, user_id, sequence)
    results = await asyncio.gather(
        replay(database, user_id),
        replay(database, user_id),
        *(apply(database, user_id, sequence) for sequence in (6,)),
    )
    await replay(database, user_id)
    assert results[0] is not None
    effects = await Rows(database.sessions).effects()
    assert effects == [(str(user_id), n) for n in range(1, 7)]


async def test_an_unreadable_event_can_only_be_discarded(database: Database) -> None:
    user_id = new_id()
    event = received(credit_reserved(user_id), sequence=1)
    async with database.sessions.begin() as session:
        await store_dead_letter(
            session,
            consumer=CONSUMER,
            topic="users",
            dead_letter=NewDeadLetter(
                event._replace(context=None, headers={}),
                DeadLetterReason.UNDECODABLE,
                "the header ce_specversion is missing",
            ),
        )
    assert await replay(database, user_id) == (0, "the header ce_specversion is missing")


@pytest.mark.parametrize("reason", list(DeadLetterReason))
def test_every_reason_has_a_stable_name(reason: DeadLetterReason) -> None:
    assert reason.value == reason.name.lower()


async def test_a_transient_error_ends_a_replay_without_counting_as_a_failure(database: Database) -> None:
    users, user_id = Subscription("users"), new_id()

    @users.on(CreditReserved)
    async def fail(_session: AsyncSession, _event: CreditReserved, _context: EventContext) -> None:
        raise ConnectionError

    await store(database, user_id, 1)
    with pytest.raises(ConnectionError):
        await replay(database, user_id, users)
    rows = Rows(database.sessions)
    assert await rows.dead_letters() == [(str(user_id), 1, "rule_violated")]
    assert await rows.count("dead_letter_action") == 0
    assert await replay(database, user_id) == (1, None)


async def test_an_event_that_was_refused_stays_so_when_its_replay_fails_in_another_way(database: Database) -> None:
    """Else the drain would take up by itself what waits for a person's decision."""
    user_id = new_id()
    await store(database, user_id, 1, cents=BROKEN_CENTS)
    assert await replay(database, user_id) == (0, "ZeroDivisionError('the handler has a bug')")
    assert await Rows(database.sessions).dead_letters() == [(str(user_id), 1, "rule_violated")]


async def test_a_replay_and_a_drain_leave_other_consumers_alone(database: Database) -> None:
    user_id = new_id()
    async with database.sessions.begin() as session:
        await store_dead_letter(
            session,
            consumer="another.users",
            topic="users",
            dead_letter=NewDeadLetter(received(credit_reserved(user_id), sequence=1), DeadLetterReason.BLOCKED, ""),
        )
    assert await replay(database, user_id) == (0, None)
    async with database.sessions() as session:
        assert await keys_to_drain(session, consumers=[CONSUMER]) == []
        assert await keys_to_drain(session) == [("another.users", "users", str(user_id))]

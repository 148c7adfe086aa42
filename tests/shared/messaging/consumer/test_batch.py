"""A batch is applied once and in order, in one transaction with its effects; failing events become dead letters."""

import asyncio
from datetime import timedelta

import asyncpg
import pytest

from shared.database import Database
from shared.ids import new_id
from shared.messaging.consumer.batch import HandlerFailed, apply_batch
from shared.messaging.consumer.inbox import ClaimedMeanwhile
from shared.messaging.consumer.worker import ConsumerWorker
from shared.messaging.dead_letters.reason import DeadLetterReason
from shared.messaging.storage.daily_partitions import INBOX_RETENTION
from tests.harness.builders import id_of_age, received, record_of
from tests.harness.databases import execute_as_owner, until_waiting
from tests.harness.rows import Rows
from tests.shared.effects import (
    CONSUMER,
    FAILING_CENTS,
    REJECTED_CENTS,
    applied,
    credit_reserved,
    subscription,
)
from tests.shared.operations.blocked_keys import store_as_dead_letter

OLD = 2 * INBOX_RETENTION


async def test_a_repeated_event_changes_nothing(database: Database) -> None:
    user_id, event_id = new_id(), new_id()
    event = received(credit_reserved(user_id), sequence=1, event_id=event_id)
    in_one_batch = await applied(database, event, event)
    in_the_next_batch = await applied(database, event)
    assert (in_one_batch.duplicates, in_the_next_batch.duplicates) == (1, 1)
    assert await Rows(database.sessions).effects() == [(str(user_id), 1)]


async def test_a_repeated_event_of_a_blocked_key_is_one_dead_letter(database: Database) -> None:
    """Seed 3002 of the workload `poison`: a new leader had published events of a blocked key again."""
    blocked = new_id()
    await store_as_dead_letter(database.sessions, received(credit_reserved(blocked), sequence=1))
    once = received(credit_reserved(blocked), sequence=2, event_id=new_id())
    again = once._replace(offset=once.offset + 1_000_000)
    result = await applied(database, once, again)
    assert (result.duplicates, len(result.dead_letters)) == (1, 1)
    assert await Rows(database.sessions).dead_letters() == [
        (str(blocked), 1, "rule_violated"),
        (str(blocked), 2, "blocked"),
    ]


async def test_an_old_event_is_a_duplicate_if_its_key_is_past_its_sequence(database: Database) -> None:
    user_id = new_id()
    await applied(database, received(credit_reserved(user_id), sequence=5))
    result = await applied(database, received(credit_reserved(user_id), sequence=4, event_id=id_of_age(OLD)))
    assert (result.duplicates, result.dead_letters) == (1, [])


async def test_an_event_that_follows_its_successor_becomes_a_dead_letter(database: Database) -> None:
    user_id = new_id()
    await applied(database, received(credit_reserved(user_id), sequence=5))
    late = received(credit_reserved(user_id), sequence=4)
    result = await applied(database, late)
    assert [one.reason for one in result.dead_letters] == [DeadLetterReason.OUT_OF_ORDER]
    assert (await applied(database, late)).duplicates == 1
    assert await Rows(database.sessions).effects() == [(str(user_id), 5)]


async def test_a_rejected_event_rolls_the_batch_back(database: Database) -> None:
    rejected = received(credit_reserved(cents=REJECTED_CENTS), sequence=1)
    with pytest.raises(HandlerFailed) as failed:
        await applied(database, received(credit_reserved(), sequence=1), rejected)
    assert failed.value.places == {rejected.place}
    rows = Rows(database.sessions)
    assert (await rows.effects(), await rows.count("inbox"), await rows.count("inbox_sequence")) == ([], 0, 0)


async def test_events_that_fail_in_savepoints_become_dead_letters_and_the_others_are_applied(
    database: Database,
) -> None:
    good, rejected, failing = new_id(), new_id(), new_id()
    result = await applied(
        database,
        received(credit_reserved(good), sequence=1),
        received(credit_reserved(rejected, cents=REJECTED_CENTS), sequence=1),
        received(credit_reserved(failing, cents=FAILING_CENTS), sequence=1),
        received(credit_reserved(rejected), sequence=2),
        received(credit_reserved(good), sequence=2),
        received(credit_reserved(failing), sequence=2),
        in_savepoints=True,
    )
    rows = Rows(database.sessions)
    assert [context.key for context in result.applied] == [str(good), str(good)]
    assert await rows.effects() == [(str(good), 1), (str(good), 2)]
    assert await rows.dead_letters() == [
        (str(rejected), 1, "rule_violated"),
        (str(failing), 1, "retrying"),
        (str(rejected), 2, "blocked"),
        (str(failing), 2, "blocked"),
    ]
    assert sorted(await rows.of("SELECT sequence, dead_letters FROM inbox_sequence")) == [(2, 0), (2, 2), (2, 2)]


async def test_later_events_queue_behind_a_dead_letter_and_other_keys_are_applied(database: Database) -> None:
    blocked, free = new_id(), new_id()
    await store_as_dead_letter(database.sessions, received(credit_reserved(blocked), sequence=1))
    result = await applied(
        database,
        received(credit_reserved(blocked), sequence=2),
        received(credit_reserved(free), sequence=1, offset=7),
        received(credit_reserved(blocked), sequence=3),
    )
    rows = Rows(database.sessions)
    assert len(result.applied) == 1
    assert await rows.effects() == [(str(free), 1)]
    assert await rows.dead_letters() == [
        (str(blocked), 1, "rule_violated"),
        (str(blocked), 2, "blocked"),
        (str(blocked), 3, "blocked"),
    ]
    assert await rows.of("SELECT sequence, dead_letters FROM inbox_sequence WHERE key = :key", key=str(blocked)) == [
        (3, 3)
    ]


async def test_an_event_past_the_retention_of_the_inbox_becomes_a_dead_letter(database: Database) -> None:
    result = await applied(database, received(credit_reserved(), sequence=1, event_id=id_of_age(OLD)))
    assert [one.reason for one in result.dead_letters] == [DeadLetterReason.TOO_OLD]
    assert await Rows(database.sessions).effects() == []


@pytest.mark.parametrize(
    ("days", "is_applied"),
    [(-1, True), (0, True), (INBOX_RETENTION.days - 1, True), (INBOX_RETENTION.days, False), (-3, False)],
)
async def test_an_event_is_applied_only_if_the_inbox_keeps_its_day(
    database: Database, days: int, is_applied: bool
) -> None:
    result = await applied(database, received(credit_reserved(), sequence=1, event_id=id_of_age(timedelta(days=days))))
    assert bool(result.applied) is is_applied


@pytest.mark.parametrize(
    ("value", "error"),
    [(b"{}", "user_id: missing"), (b"not json", "json_invalid"), (b"", "json_invalid")],
)
async def test_data_that_does_not_match_the_schema_becomes_a_dead_letter(
    database: Database, value: bytes, error: str
) -> None:
    good, bad = new_id(), new_id()
    result = await applied(
        database,
        received(credit_reserved(good), sequence=1),
        received(credit_reserved(bad), sequence=1)._replace(value=value),
        received(credit_reserved(bad), sequence=2),
        received(credit_reserved(good), sequence=2),
    )
    rows = Rows(database.sessions)
    assert await rows.effects() == [(str(good), 1), (str(good), 2)]
    assert await rows.dead_letters() == [(str(bad), 1, "invalid"), (str(bad), 2, "blocked")]
    assert error in (result.dead_letters[0].error or "")


async def test_members_with_the_same_events_wait_for_each_other_and_apply_them_once(database: Database) -> None:
    user_id = new_id()
    await applied(database, received(credit_reserved(user_id), sequence=1))
    events = [received(credit_reserved(user_id), sequence=n) for n in range(2, 6)]
    results = await asyncio.gather(*(applied(database, *events) for _ in range(6)))
    assert sorted((len(result.applied), result.duplicates) for result in results) == [(0, 4)] * 5 + [(4, 0)]
    assert await Rows(database.sessions).effects() == [(str(user_id), n) for n in range(1, 6)]


async def test_a_member_that_races_another_for_a_new_key_tries_again(database: Database) -> None:
    event = received(credit_reserved(), sequence=1)
    consumer = ConsumerWorker(name=CONSUMER, subscription=subscription(), sessions=database.sessions)
    async with database.sessions.begin() as session:
        await apply_batch(session, consumer=CONSUMER, subscription=subscription(), events=[event])
        # Both look for the event before either has committed it, and there is no row of a position to lock.
        direct = asyncio.create_task(applied(database, event))
        consuming = asyncio.create_task(consumer.apply([record_of(event)]))
        await until_waiting(database.sessions, transactions=2)
    with pytest.raises(ClaimedMeanwhile):
        await direct
    await consuming
    assert await Rows(database.sessions).effects() == [(event.key, 1)]
    assert await Rows(database.sessions).dead_letters() == []


async def test_a_missing_daily_partition_raises(database: Database) -> None:
    partitions = await Rows(database.sessions).of(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'inbox'::regclass"
    )
    await execute_as_owner(database.sessions, *(f"DROP TABLE {partition}" for (partition,) in partitions))
    with pytest.raises(asyncpg.CheckViolationError, match="no partition"):
        await applied(database, received(credit_reserved(), sequence=1))


async def test_a_late_dead_letter_does_not_lower_its_keys_sequence(database: Database) -> None:
    user_id = new_id()
    await applied(database, received(credit_reserved(user_id), sequence=5))
    await store_as_dead_letter(database.sessions, received(credit_reserved(user_id), sequence=4))
    assert await Rows(database.sessions).of("SELECT sequence, dead_letters FROM inbox_sequence") == [(5, 1)]


async def test_a_dead_letter_that_arrives_again_is_a_duplicate(database: Database) -> None:
    event = received(credit_reserved(), sequence=1)
    await store_as_dead_letter(database.sessions, event)
    result = await applied(database, event._replace(offset=event.offset + 1_000_000))
    assert (result.duplicates, result.dead_letters) == (1, [])


async def test_two_consumers_of_one_database_apply_an_event_once_each(database: Database) -> None:
    event = received(credit_reserved(), sequence=1)
    for consumer in ("first", "second", "first"):
        async with database.sessions.begin() as session:
            await apply_batch(session, consumer=consumer, subscription=subscription(), events=[event])
    assert await Rows(database.sessions).effects() == [(event.key, 1)] * 2

"""Many keys at once: replayed one after the other, discarded, and drained by themselves."""

import asyncio
import time
from dataclasses import replace

import pytest
import sqlalchemy as sa

from shared.database import Database, dsn_of
from shared.jobs import JobRunner, Jobs
from shared.maintenance import with_maintenance
from shared.messaging.dead_letters.queries import DeadLetter, DeadLetterFilter
from shared.operations.dead_letters import NOT_CONSUMED, DeadLetterNotFound, DeadLetterOperations
from tests.harness.rows import Rows
from tests.harness.waiting import until
from tests.shared.messaging.scenario import CONSUMER
from tests.shared.operations.blocked_keys import CONSUMERS, key_at_rest

ACTOR = "operator@example.com"
EVERYTHING = DeadLetterFilter()


@pytest.fixture
def dead_letter(database: Database) -> DeadLetterOperations:
    return DeadLetterOperations(database.sessions, CONSUMERS)


async def replay(
    dead_letter: DeadLetterOperations, *, limit: int | None = None, deadline: float | None = None
) -> list[tuple[str, int, str | None]]:
    """(key, applied, why it stopped) of each key that was tried."""
    keys = await dead_letter.select_for_replay(EVERYTHING, all_keys=True, limit=limit)
    outcomes = dead_letter.replay(keys, actor=ACTOR, deadline=deadline)
    return [(outcome.key.consumer_key.key, outcome.replay.applied, outcome.replay.error) async for outcome in outcomes]


async def waiting(dead_letter: DeadLetterOperations) -> list[DeadLetter]:
    return await dead_letter.find(EVERYTHING)


async def test_a_plan_names_the_keys_and_their_first_events_and_changes_nothing(
    dead_letter: DeadLetterOperations, database: Database
) -> None:
    one = await key_at_rest(database.sessions, events=3)
    other = await key_at_rest(database.sessions, events=1)
    before = await waiting(dead_letter)
    plan = await dead_letter.select_for_replay(EVERYTHING, all_keys=True)
    assert [(*key.consumer_key, key.count, key.first) for key in plan] == [
        (CONSUMER, "users", str(one), 3, before[0]),
        (CONSUMER, "users", str(other), 1, before[3]),
    ]
    assert [
        key.consumer_key.key for key in await dead_letter.select_for_replay(EVERYTHING, all_keys=True, limit=1)
    ] == [str(one)]
    assert (await waiting(dead_letter), await Rows(database.sessions).effects()) == (before, [])


async def test_a_key_that_fails_again_does_not_stop_the_others(
    dead_letter: DeadLetterOperations, database: Database
) -> None:
    bad = await key_at_rest(database.sessions, events=3, poison=frozenset({2}))
    good = await key_at_rest(database.sessions, events=2)
    why = "not_wanted: The test's handler does not want this one"
    assert await replay(dead_letter) == [(str(bad), 1, why), (str(good), 2, None)]
    assert [(event.sequence, event.reason, event.error) for event in await waiting(dead_letter)] == [
        (2, "rule_violated", why),
        (3, "blocked", None),
    ]


async def test_a_replay_ends_at_its_limit_and_at_its_deadline(
    dead_letter: DeadLetterOperations, database: Database
) -> None:
    one = await key_at_rest(database.sessions, events=1)
    other = await key_at_rest(database.sessions, events=1)
    assert await replay(dead_letter, deadline=time.monotonic()) == []
    assert await replay(dead_letter, limit=1) == [(str(one), 1, None)]
    assert await replay(dead_letter, limit=1) == [(str(other), 1, None)]


async def test_a_topic_that_is_no_longer_read_is_said_and_left_alone(
    dead_letter: DeadLetterOperations, database: Database
) -> None:
    key = await key_at_rest(database.sessions, events=1)
    assert await replay(replace(dead_letter, consumers={})) == [(str(key), 0, NOT_CONSUMED)]
    assert await replay(dead_letter) == [(str(key), 1, None)]


async def test_a_discard_applies_at_once_what_only_stood_behind(
    dead_letter: DeadLetterOperations, database: Database
) -> None:
    key = await key_at_rest(database.sessions, events=3, poison=frozenset({1}))
    other = await key_at_rest(database.sessions, events=2)
    (poison, *_) = await waiting(dead_letter)
    told: list[int] = []
    done = await dead_letter.discard([poison], actor=ACTOR, note="a test order", on_discarded=told.append)
    assert ([event.id for event in done.dead_letters], done.drained, told) == ([poison.id], 2, [1])
    assert [event.key for event in await waiting(dead_letter)] == [str(other)] * 2
    rows = Rows(database.sessions)
    assert await rows.effects() == [(str(key), 2), (str(key), 3)]
    assert await rows.of("SELECT actor, action FROM dead_letter_action ORDER BY id") == [
        (ACTOR, "discard"),
        ("drain", "replay"),
        ("drain", "replay"),
    ]


async def test_what_was_chosen_must_exist_and_counts_once(
    dead_letter: DeadLetterOperations, database: Database
) -> None:
    await key_at_rest(database.sessions, events=2)
    (first, _) = await waiting(dead_letter)
    assert await dead_letter.select_for_discard(EVERYTHING, ids=[first.id, first.id]) == [first]
    with pytest.raises(DeadLetterNotFound):
        await dead_letter.select_for_discard(EVERYTHING, ids=[first.id, 999])
    await dead_letter.discard([first], actor=ACTOR, note="a test order")
    assert await dead_letter.select_for_discard(EVERYTHING, ids=[first.id]) == []


async def test_an_event_that_fails_while_it_drains_is_tried_once_and_then_holds_its_key(
    dead_letter: DeadLetterOperations, database: Database
) -> None:
    await key_at_rest(database.sessions, events=3, poison=frozenset({2}))
    (first, *_) = await waiting(dead_letter)
    assert (await dead_letter.discard([first], actor=ACTOR, note="a test order")).drained == 0
    assert await dead_letter.drain() == 0
    assert await dead_letter.drain() == 0
    assert [(event.sequence, event.reason) for event in await waiting(dead_letter)] == [
        (2, "rule_violated"),
        (3, "blocked"),
    ]
    failures = await Rows(database.sessions).of("SELECT actor FROM dead_letter_action WHERE outcome = 'failed'")
    assert failures == [("drain",)]


async def test_more_keys_than_a_batch_drain_in_one_go(dead_letter: DeadLetterOperations, database: Database) -> None:
    for _ in range(5):
        await key_at_rest(database.sessions, events=2)
    await _resolve_heads(database)
    assert await replace(dead_letter, drain_batch=2).drain() == 5
    assert await waiting(dead_letter) == []


async def test_keys_drain_by_themselves(database: Database, database_url: str) -> None:
    key = await key_at_rest(database.sessions, events=3)
    await _resolve_heads(database)
    jobs = with_maintenance(Jobs(), consumers=CONSUMERS)
    runner = JobRunner(jobs, dsn=dsn_of(database_url), sessions=database.sessions)
    task = asyncio.create_task(runner.run())
    rows = Rows(database.sessions)

    async def drained() -> bool:
        return await rows.effects() == [(str(key), 2), (str(key), 3)]

    try:
        await until(drained, what="the key drained")
    finally:
        runner.stop()
        await asyncio.wait_for(task, timeout=20)
    assert await rows.of("SELECT dead_letters FROM inbox_sequence") == [(0,)]


async def _resolve_heads(database: Database) -> None:
    """As a tool of an older version would: the heads go, and nobody drains."""
    async with database.sessions.begin() as session:
        await session.execute(sa.text("UPDATE dead_letter SET resolution = 'discarded' WHERE reason = 'rule_violated'"))
        await session.execute(sa.text("UPDATE inbox_sequence SET dead_letters = dead_letters - 1"))

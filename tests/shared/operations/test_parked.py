"""Many keys at once: replayed one after the other, discarded, and drained by themselves."""

import asyncio
import time
from dataclasses import replace

import pytest
import sqlalchemy as sa

from shared.database import Database, dsn_of
from shared.jobs import JobRunner, Jobs
from shared.messaging.parked_events import ParkedEvent, ParkedFilter
from shared.operations.parked import NOT_READ, ParkedEventNotFound, ParkedOperations
from shared.upkeep import with_upkeep
from tests.shared.messaging.scenario import CONSUMER, Rows, until
from tests.shared.operations.standstill import CONSUMERS, key_at_rest

ACTOR = "operator@example.com"
EVERYTHING = ParkedFilter()


@pytest.fixture
def parked(database: Database) -> ParkedOperations:
    return ParkedOperations(database.sessions, CONSUMERS)


async def replay(
    parked: ParkedOperations, *, limit: int | None = None, deadline: float | None = None
) -> list[tuple[str, int, str | None]]:
    """(key, applied, why it stopped) of each key that was tried."""
    keys = await parked.plan_replay(EVERYTHING, limit=limit)
    outcomes = parked.replay(keys, actor=ACTOR, deadline=deadline)
    return [(outcome.key.key, outcome.applied, outcome.why) async for outcome in outcomes]


async def waiting(parked: ParkedOperations) -> list[ParkedEvent]:
    return await parked.find(EVERYTHING)


async def test_a_plan_names_the_keys_and_their_first_events_and_changes_nothing(
    parked: ParkedOperations, database: Database
) -> None:
    one = await key_at_rest(database.sessions, events=3)
    other = await key_at_rest(database.sessions, events=1)
    before = await waiting(parked)
    plan = await parked.plan_replay(EVERYTHING)
    assert [(key.consumer, key.key, key.waiting, key.first) for key in plan] == [
        (CONSUMER, str(one), 3, before[0]),
        (CONSUMER, str(other), 1, before[3]),
    ]
    assert [key.key for key in await parked.plan_replay(EVERYTHING, limit=1)] == [str(one)]
    assert (await waiting(parked), await Rows(database.sessions).effects()) == (before, [])


async def test_a_key_that_fails_again_does_not_stop_the_others(parked: ParkedOperations, database: Database) -> None:
    bad = await key_at_rest(database.sessions, events=3, poison=frozenset({2}))
    good = await key_at_rest(database.sessions, events=2)
    why = "not_wanted: The test's handler does not want this one"
    assert await replay(parked) == [(str(bad), 1, why), (str(good), 2, None)]
    assert [(event.sequence, event.reason, event.error) for event in await waiting(parked)] == [
        (2, "refused", why),
        (3, "behind", None),
    ]


async def test_a_replay_ends_at_its_limit_and_at_its_deadline(parked: ParkedOperations, database: Database) -> None:
    one = await key_at_rest(database.sessions, events=1)
    other = await key_at_rest(database.sessions, events=1)
    assert await replay(parked, deadline=time.monotonic()) == []
    assert await replay(parked, limit=1) == [(str(one), 1, None)]
    assert await replay(parked, limit=1) == [(str(other), 1, None)]


async def test_a_topic_that_is_no_longer_read_is_said_and_left_alone(
    parked: ParkedOperations, database: Database
) -> None:
    key = await key_at_rest(database.sessions, events=1)
    assert await replay(replace(parked, consumers={})) == [(str(key), 0, NOT_READ)]
    assert await replay(parked) == [(str(key), 1, None)]


async def test_a_discard_applies_at_once_what_only_stood_behind(parked: ParkedOperations, database: Database) -> None:
    key = await key_at_rest(database.sessions, events=3, poison=frozenset({1}))
    other = await key_at_rest(database.sessions, events=2)
    (poison, *_) = await waiting(parked)
    told: list[int] = []
    done = await parked.discard([poison.id], actor=ACTOR, reason="a test order", on_discarded=told.append)
    assert ([event.id for event in done.events], done.drained, told) == ([poison.id], 2, [1])
    assert [event.key for event in await waiting(parked)] == [str(other)] * 2
    rows = Rows(database.sessions)
    assert await rows.effects() == [(str(key), 2), (str(key), 3)]
    assert await rows.of("SELECT actor, action FROM parked_event_action ORDER BY id") == [
        (ACTOR, "discard"),
        ("drain", "replay"),
        ("drain", "replay"),
    ]


async def test_what_was_chosen_must_exist_and_counts_once(parked: ParkedOperations, database: Database) -> None:
    await key_at_rest(database.sessions, events=2)
    (first, _) = await waiting(parked)
    assert await parked.chosen([first.id, first.id]) == [first]
    with pytest.raises(ParkedEventNotFound):
        await parked.chosen([first.id, 999])
    await parked.discard([first.id], actor=ACTOR, reason="a test order")
    assert await parked.chosen([first.id]) == []


async def test_an_event_that_fails_while_it_drains_is_tried_once_and_then_holds_its_key(
    parked: ParkedOperations, database: Database
) -> None:
    await key_at_rest(database.sessions, events=3, poison=frozenset({2}))
    (first, *_) = await waiting(parked)
    assert (await parked.discard([first.id], actor=ACTOR, reason="a test order")).drained == 0
    assert await parked.drain() == 0
    assert await parked.drain() == 0
    assert [(event.sequence, event.reason) for event in await waiting(parked)] == [(2, "refused"), (3, "behind")]
    failures = await Rows(database.sessions).of("SELECT actor FROM parked_event_action WHERE outcome = 'failed'")
    assert failures == [("drain",)]


async def test_more_keys_than_a_batch_drain_in_one_go(
    parked: ParkedOperations, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.operations.parked.DRAIN_BATCH", 2)
    for _ in range(5):
        await key_at_rest(database.sessions, events=2)
    await _resolve_heads(database)
    assert await parked.drain() == 5
    assert await waiting(parked) == []


async def test_keys_drain_by_themselves(database: Database, database_url: str) -> None:
    key = await key_at_rest(database.sessions, events=3)
    await _resolve_heads(database)
    jobs = with_upkeep(Jobs(), consumers=CONSUMERS)
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
    assert await rows.of("SELECT parked FROM inbox_sequence") == [(0,)]


async def _resolve_heads(database: Database) -> None:
    """As a tool of an older version would: the heads go, and nobody drains."""
    async with database.sessions.begin() as session:
        await session.execute(sa.text("UPDATE parked_event SET resolution = 'discarded' WHERE reason = 'refused'"))
        await session.execute(sa.text("UPDATE inbox_sequence SET parked = parked - 1"))

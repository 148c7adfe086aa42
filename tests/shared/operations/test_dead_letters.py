"""Operators select dead letters of several keys, and replay or discard them."""

import time
from dataclasses import replace

import pytest

from shared.database import Database
from shared.messaging.dead_letters.queries import DeadLetter, DeadLetterFilter
from shared.operations.dead_letters import NOT_CONSUMED, DeadLetterNotFound, DeadLetterOperations, NothingSelected
from tests.harness.rows import Rows
from tests.shared.effects import CONSUMER
from tests.shared.operations.blocked_keys import ACTOR, blocked_key

EVERYTHING = DeadLetterFilter()


async def replay(
    dead_letters: DeadLetterOperations, *, limit: int | None = None, deadline: float | None = None
) -> list[tuple[str, int, str | None]]:
    """Replay all keys; return the key, the number of applied events and the error of each that was tried."""
    keys = await dead_letters.select_for_replay(EVERYTHING, all_keys=True, limit=limit)
    outcomes = dead_letters.replay(keys, wanted=EVERYTHING, actor=ACTOR, deadline=deadline)
    return [
        (outcome.replayable.consumer_key.key, outcome.replay.applied, outcome.replay.error)
        async for outcome in outcomes
    ]


async def unresolved(dead_letters: DeadLetterOperations) -> list[DeadLetter]:
    return await dead_letters.unresolved(EVERYTHING)


async def test_a_selection_for_replay_holds_keys_with_their_first_dead_letters_and_changes_nothing(
    dead_letters: DeadLetterOperations, database: Database
) -> None:
    one = await blocked_key(database.sessions, events=3)
    other = await blocked_key(database.sessions, events=1)
    before = await unresolved(dead_letters)
    selected = await dead_letters.select_for_replay(EVERYTHING, all_keys=True)
    assert [(*key.consumer_key, key.count, key.first) for key in selected] == [
        (CONSUMER, "users", str(one), 3, before[0]),
        (CONSUMER, "users", str(other), 1, before[3]),
    ]
    assert await dead_letters.select_for_replay(EVERYTHING, all_keys=True, limit=1) == selected[:1]
    assert (await unresolved(dead_letters), await Rows(database.sessions).effects()) == (before, [])


async def test_a_key_that_fails_again_does_not_stop_the_others(
    dead_letters: DeadLetterOperations, database: Database
) -> None:
    bad = await blocked_key(database.sessions, events=3, rejected=frozenset({2}))
    good = await blocked_key(database.sessions, events=2)
    error = "event_rejected: The test's handler rejects this event"
    assert await replay(dead_letters) == [(str(bad), 1, error), (str(good), 2, None)]
    assert [(each.sequence, each.reason, each.error) for each in await unresolved(dead_letters)] == [
        (2, "rule_violated", error),
        (3, "blocked", None),
    ]


async def test_a_replay_ends_at_its_limit_and_at_its_deadline(
    dead_letters: DeadLetterOperations, database: Database
) -> None:
    one = await blocked_key(database.sessions, events=1)
    other = await blocked_key(database.sessions, events=1)
    assert await replay(dead_letters, deadline=time.monotonic()) == []
    assert await replay(dead_letters, limit=1) == [(str(one), 1, None)]
    assert await replay(dead_letters, limit=1) == [(str(other), 1, None)]


async def test_a_topic_without_a_consumer_is_reported_and_left_alone(
    dead_letters: DeadLetterOperations, database: Database
) -> None:
    key = await blocked_key(database.sessions, events=1)
    assert await replay(replace(dead_letters, subscriptions={})) == [(str(key), 0, NOT_CONSUMED)]
    assert await replay(dead_letters) == [(str(key), 1, None)]


async def test_a_discard_applies_the_events_that_it_blocked(
    dead_letters: DeadLetterOperations, database: Database
) -> None:
    key = await blocked_key(database.sessions, events=3, rejected=frozenset({1}))
    other = await blocked_key(database.sessions, events=2)
    (first, *_) = await unresolved(dead_letters)
    progress: list[int] = []
    done = await dead_letters.discard([first], actor=ACTOR, note="a test order", on_discarded=progress.append)
    assert ([each.id for each in done.dead_letters], done.drained, progress) == ([first.id], 2, [1])
    assert [each.key for each in await unresolved(dead_letters)] == [str(other)] * 2
    rows = Rows(database.sessions)
    assert await rows.effects() == [(str(key), 2), (str(key), 3)]
    assert await rows.of("SELECT actor, action FROM dead_letter_action ORDER BY id") == [
        (ACTOR, "discard"),
        ("drain", "replay"),
        ("drain", "replay"),
    ]


async def test_ids_for_a_discard_must_exist_and_count_once(
    dead_letters: DeadLetterOperations, database: Database
) -> None:
    await blocked_key(database.sessions, events=2)
    (first, _) = await unresolved(dead_letters)
    assert await dead_letters.select_for_discard(EVERYTHING, ids=[first.id, first.id]) == [first]
    with pytest.raises(DeadLetterNotFound, match="There is no dead letter 999"):
        await dead_letters.select_for_discard(EVERYTHING, ids=[first.id, 999])
    await dead_letters.discard([first], actor=ACTOR, note="a test order")
    assert await dead_letters.select_for_discard(EVERYTHING, ids=[first.id]) == []


async def test_pages_for_replay_hold_each_key_once_even_if_it_fails_again(
    dead_letters: DeadLetterOperations, database: Database
) -> None:
    keys = [await blocked_key(database.sessions, events=2, rejected=frozenset({2})) for _ in range(5)]
    paged = replace(dead_letters, max_keys_per_round=2)
    pages = []
    async for page in paged.pages_for_replay(EVERYTHING, all_keys=True, limit=None):
        pages.append([key.consumer_key.key for key in page])
        assert [outcome.replay.applied async for outcome in paged.replay(page, wanted=EVERYTHING, actor=ACTOR)] == [
            1
        ] * len(page)
    expected = sorted(map(str, keys))
    assert pages == [expected[:2], expected[2:4], expected[4:]]
    limited = [page async for page in paged.pages_for_replay(EVERYTHING, all_keys=True, limit=3)]
    assert [[key.consumer_key.key for key in page] for page in limited] == [list(map(str, keys[:3]))]
    with pytest.raises(NothingSelected):
        await anext(paged.pages_for_replay(EVERYTHING, all_keys=False, limit=None))

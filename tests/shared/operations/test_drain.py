"""The drain replays dead letters without an operator: each key in order, with backoff, a limited number of times."""

from dataclasses import replace
from datetime import timedelta

import sqlalchemy as sa

from shared.connection_urls import dsn_of
from shared.database import Database
from shared.ids import new_id
from shared.jobs import JobRunner, Jobs
from shared.maintenance import with_maintenance
from shared.messaging.consumer.subscription import Subscription
from shared.messaging.consumer.worker import ConsumerWorker
from shared.messaging.dead_letters.queries import DeadLetterFilter
from shared.messaging.dead_letters.reason import DeadLetterReason
from shared.messaging.envelope import Received
from shared.operations.dead_letters import DeadLetterOperations
from shared.operations.replay import INITIAL_DRAIN_DELAY, MAX_DRAIN_ATTEMPTS, MAX_HANDLER_ATTEMPTS, keys_to_drain
from tests.harness.builders import received, record_of
from tests.harness.rows import Rows
from tests.harness.running import running
from tests.harness.waiting import until
from tests.shared.effects import CONSUMER, FAILING_CENTS, credit_reserved, failing_first, subscription
from tests.shared.operations.blocked_keys import ACTOR, SUBSCRIPTIONS, blocked_key, store_as_dead_letter


async def consume(database: Database, handlers: Subscription, *events: Received) -> None:
    worker = ConsumerWorker(name=CONSUMER, subscription=handlers, sessions=database.sessions)
    await worker.apply([record_of(event) for event in events])


async def drain_after(database: Database, seconds: float, handlers: Subscription) -> int:
    """Let time pass for dead letters, and drain; return the number of applied events."""
    async with database.sessions.begin() as session:
        await session.execute(
            sa.text("UPDATE dead_letter SET next_try_at = next_try_at - CAST(:age AS interval)"),
            {"age": timedelta(seconds=seconds)},
        )
    return await DeadLetterOperations(database.sessions, {CONSUMER: handlers}).drain()


async def resolve_first_dead_letters(database: Database) -> None:
    """Resolve the dead letters that block keys, without applying the events that they blocked."""
    async with database.sessions.begin() as session:
        await session.execute(sa.text("UPDATE dead_letter SET resolution = 'discarded' WHERE reason = 'rule_violated'"))
        await session.execute(sa.text("UPDATE inbox_sequence SET dead_letters = dead_letters - 1"))
        await session.execute(
            sa.text("""
                UPDATE dead_letter SET next_try_at = now()
                WHERE id IN (SELECT min(id) FROM dead_letter WHERE resolution IS NULL GROUP BY key)
            """)
        )


async def test_a_failed_event_is_retried_with_backoff_and_then_its_key_in_order(database: Database) -> None:
    # The consumer tries twice, without and with a savepoint; each replay of the drain tries MAX_HANDLER_ATTEMPTS times.
    handlers, user_id = failing_first(*[ZeroDivisionError()] * (2 + MAX_HANDLER_ATTEMPTS)), new_id()
    await consume(database, handlers, *(received(credit_reserved(user_id), sequence=n) for n in (1, 2)))
    assert [await drain_after(database, seconds, handlers) for seconds in (0, 5, 9, 1)] == [0, 0, 0, 2]
    rows = Rows(database.sessions)
    assert await rows.effects() == [(str(user_id), 1), (str(user_id), 2)]
    assert await rows.of("SELECT action, outcome FROM dead_letter_action ORDER BY id") == [
        ("replay", "failed"),
        ("replay", "done"),
        ("replay", "done"),
    ]


async def test_an_event_that_always_fails_is_left_to_an_operator(database: Database) -> None:
    user_id = new_id()
    await consume(database, subscription(), received(credit_reserved(user_id, cents=FAILING_CENTS), sequence=1))
    for _ in range(MAX_DRAIN_ATTEMPTS + 3):
        assert await drain_after(database, 1_000, subscription()) == 0
    rows = Rows(database.sessions)
    assert await rows.dead_letters() == [(str(user_id), 1, "retries_exhausted")]
    assert await rows.count("dead_letter_action") == MAX_DRAIN_ATTEMPTS


async def test_an_event_that_is_rejected_while_it_drains_blocks_its_key_again(
    dead_letters: DeadLetterOperations, database: Database
) -> None:
    await blocked_key(database.sessions, events=3, rejected=frozenset({2}))
    (first, *_) = await dead_letters.unresolved(DeadLetterFilter())
    assert (await dead_letters.discard([first], actor=ACTOR, note="a test order")).drained == 0
    assert [await dead_letters.drain() for _ in range(2)] == [0, 0]
    rows = Rows(database.sessions)
    assert (await rows.dead_letters())[1:] == [(first.key, 2, "rule_violated"), (first.key, 3, "blocked")]
    assert await rows.of("SELECT actor FROM dead_letter_action WHERE outcome = 'failed'") == [("drain",)]


async def test_one_drain_takes_any_number_of_keys(dead_letters: DeadLetterOperations, database: Database) -> None:
    for _ in range(5):
        await blocked_key(database.sessions, events=2)
    await resolve_first_dead_letters(database)
    assert await replace(dead_letters, max_keys_per_round=2).drain() == 5
    assert await dead_letters.unresolved(DeadLetterFilter()) == []


async def test_maintenance_replays_keys_that_are_due(database: Database, database_url: str) -> None:
    key = await blocked_key(database.sessions, events=3)
    await resolve_first_dead_letters(database)
    jobs = with_maintenance(Jobs(), subscriptions=SUBSCRIPTIONS)
    rows = Rows(database.sessions)

    async def drained() -> bool:
        return await rows.effects() == [(str(key), 2), (str(key), 3)]

    async with running(JobRunner(jobs, dsn=dsn_of(database_url), sessions=database.sessions)):
        await until(drained, what="the key is drained")
    assert await rows.of("SELECT dead_letters FROM inbox_sequence") == [(0,)]


async def test_only_keys_of_the_given_consumers_are_drained(database: Database) -> None:
    user_id = new_id()
    event = received(credit_reserved(user_id), sequence=1)
    reason = DeadLetterReason.RETRYING
    await store_as_dead_letter(database.sessions, event, consumer="another.users", reason=reason)
    assert await drain_after(database, INITIAL_DRAIN_DELAY.total_seconds(), subscription()) == 0
    async with database.sessions() as session:
        assert await keys_to_drain(session, consumers=[CONSUMER], limit=100) == []
        assert await keys_to_drain(session, consumers=["another.users"], limit=100) == [
            ("another.users", "users", str(user_id))
        ]

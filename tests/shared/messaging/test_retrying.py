"""An event whose handler fails for a reason of its own holds its own key only, and is tried again later each time."""

import asyncio
from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database import Database
from shared.events.users import CreditReserved
from shared.ids import new_id
from shared.messaging.consumer.subscription import Subscription
from shared.messaging.consumer.worker import MAX_SAVEPOINT_ROUNDS, ConsumerWorker
from shared.messaging.envelope import EventContext, Received
from shared.messaging.outbox.outbox import record
from shared.operations import replay
from shared.operations.dead_letters import DeadLetterOperations
from tests.harness.builders import received, record_of
from tests.harness.rows import Rows
from tests.shared.messaging.scenario import BROKEN_CENTS, CONSUMER, credit_reserved, subscription


async def consumed(database: Database, *events: Received, handlers: Subscription | None = None) -> None:
    """As the consumer does with a partition's slice."""
    consumer = ConsumerWorker(name=CONSUMER, subscription=handlers or subscription(), sessions=database.sessions)
    await consumer.apply([record_of(event) for event in events])


async def drained(database: Database, handlers: Subscription) -> int:
    """How many events the drain applied in one go."""
    return await DeadLetterOperations(database.sessions, {CONSUMER: handlers}).drain()


async def some_time_passes(database: Database, seconds: float) -> None:
    """For what is parked, and what was tried."""
    async with database.sessions.begin() as session:
        ago = {"seconds": timedelta(seconds=seconds)}
        await session.execute(
            sa.text("UPDATE dead_letter SET dead_lettered_at = dead_lettered_at - CAST(:seconds AS interval)"), ago
        )
        await session.execute(
            sa.text("UPDATE dead_letter_action SET acted_at = acted_at - CAST(:seconds AS interval)"), ago
        )


def recovering(failures: int) -> Subscription:
    """Its handler fails so often, and works from then on."""
    users = Subscription("users")
    left = failures

    @users.on(CreditReserved)
    async def note(session: AsyncSession, _event: CreditReserved, context: EventContext) -> None:
        nonlocal left
        if context.sequence == 1 and left > 0:
            left -= 1
            raise ZeroDivisionError("the handler has a bug")
        await session.execute(
            sa.text("INSERT INTO effect (event_id, key, sequence) VALUES (:event_id, :key, :sequence)"),
            {"event_id": context.event_id, "key": context.key, "sequence": context.sequence},
        )

    return users


async def test_other_keys_are_applied_while_an_event_waits_for_its_next_try(database: Database) -> None:
    broken, good = new_id(), new_id()
    await consumed(
        database,
        received(credit_reserved(broken, cents=BROKEN_CENTS), sequence=1),
        received(credit_reserved(good), sequence=1),
        received(credit_reserved(broken), sequence=2),
    )
    await consumed(database, received(credit_reserved(good), sequence=2), received(credit_reserved(broken), sequence=3))
    rows = Rows(database.sessions)
    assert await rows.effects() == [(str(good), 1), (str(good), 2)]
    assert await rows.dead_letters() == [
        (str(broken), 1, "retrying"),
        (str(broken), 2, "blocked"),
        (str(broken), 3, "blocked"),
    ]


async def test_a_handler_that_recovers_takes_its_key_up_in_order(database: Database) -> None:
    # Twice as it comes: with the others, and in a savepoint of its own; three times as the drain tries it again.
    handlers, user_id = recovering(2 + replay.MAX_HANDLER_ATTEMPTS), new_id()
    await consumed(database, *(received(credit_reserved(user_id), sequence=n) for n in (1, 2)), handlers=handlers)
    assert await drained(database, handlers) == 0
    await some_time_passes(database, 5)
    assert await drained(database, handlers) == 0
    await some_time_passes(database, 9)
    assert await drained(database, handlers) == 0
    await some_time_passes(database, 1)
    assert await drained(database, handlers) == 2
    rows = Rows(database.sessions)
    assert await rows.effects() == [(str(user_id), 1), (str(user_id), 2)]
    assert await rows.of("SELECT action, outcome FROM dead_letter_action ORDER BY id") == [
        ("replay", "failed"),
        ("replay", "done"),
        ("replay", "done"),
    ]


async def test_an_event_that_never_works_is_left_to_people_after_its_tries(database: Database) -> None:
    handlers, user_id = subscription(), new_id()
    await consumed(database, received(credit_reserved(user_id, cents=BROKEN_CENTS), sequence=1))
    for _ in range(replay.MAX_DRAIN_ATTEMPTS + 3):
        await some_time_passes(database, 1_000)
        assert await drained(database, handlers) == 0
    rows = Rows(database.sessions)
    assert await rows.dead_letters() == [(str(user_id), 1, "retries_exhausted")]
    assert await rows.count("dead_letter_action") == replay.MAX_DRAIN_ATTEMPTS


async def test_an_event_whose_commit_fails_is_found_among_the_others(database: Database) -> None:
    """A handler that records an event too large for the outbox is at fault only when the transaction ends."""
    broken, good = new_id(), new_id()
    users = Subscription("users")

    @users.on(CreditReserved)
    async def answer(session: AsyncSession, event: CreditReserved, context: EventContext) -> None:
        currency = "x" * 600_000 if event.user_id == broken else "GBP"
        record(session, CreditReserved.model_construct(**{**event.model_dump(), "currency": currency}))
        await session.execute(
            sa.text("INSERT INTO effect (event_id, key, sequence) VALUES (:event_id, :key, :sequence)"),
            {"event_id": context.event_id, "key": context.key, "sequence": context.sequence},
        )

    await consumed(
        database,
        received(credit_reserved(good), sequence=1),
        received(credit_reserved(broken), sequence=1),
        received(credit_reserved(good), sequence=2),
        handlers=users,
    )
    rows = Rows(database.sessions)
    assert await rows.effects() == [(str(good), 1), (str(good), 2)]
    assert await rows.dead_letters() == [(str(broken), 1, "retrying")]


async def test_slow_events_get_shorter_transactions(database: Database) -> None:
    """So that a process that is killed has little to do again."""
    users, transactions = Subscription("users"), []

    @users.on(CreditReserved)
    async def dawdle(session: AsyncSession, _event: CreditReserved, _context: EventContext) -> None:
        transactions.append(await session.scalar(sa.text("SELECT pg_current_xact_id()::text::bigint")))
        await asyncio.sleep(0.02)

    user_id = new_id()
    await consumed(database, *(received(credit_reserved(user_id), sequence=n) for n in range(1, 161)), handlers=users)
    sizes = [transactions.count(transaction) for transaction in dict.fromkeys(transactions)]
    assert sizes[0] == 100
    assert max(sizes[1:]) <= 50


async def test_a_lost_race_is_tried_again_at_once(database: Database) -> None:
    user_id = new_id()
    await consumed(database, received(credit_reserved(user_id), sequence=1), handlers=recovering(1))
    rows = Rows(database.sessions)
    assert (await rows.effects(), await rows.dead_letters()) == ([(str(user_id), 1)], [])


async def test_however_many_events_fail_the_others_of_their_slice_are_applied(database: Database) -> None:
    good = received(credit_reserved(), sequence=1)
    broken = [received(credit_reserved(cents=BROKEN_CENTS), sequence=1) for _ in range(MAX_SAVEPOINT_ROUNDS + 2)]
    await consumed(database, *broken, good)
    rows = Rows(database.sessions)
    assert await rows.effects() == [(good.key, 1)]
    assert await rows.dead_letters() == [(event.key, 1, "retrying") for event in broken]


@pytest.mark.parametrize("is_suspect", [False, True])
async def test_a_transient_error_of_a_handler_is_waited_out_and_parks_nothing(
    database: Database, is_suspect: bool
) -> None:
    users, errors = Subscription("users"), [ZeroDivisionError()] * is_suspect + [TimeoutError(), ConnectionError()]

    @users.on(CreditReserved)
    async def note(session: AsyncSession, _event: CreditReserved, context: EventContext) -> None:
        if errors:
            raise errors.pop(0)
        await session.execute(
            sa.text("INSERT INTO effect (event_id, key, sequence) VALUES (:event_id, :key, :sequence)"),
            {"event_id": context.event_id, "key": context.key, "sequence": context.sequence},
        )

    event = received(credit_reserved(), sequence=1)
    await consumed(database, event, handlers=users)
    rows = Rows(database.sessions)
    assert (await rows.effects(), await rows.dead_letters()) == ([(event.key, 1)], [])

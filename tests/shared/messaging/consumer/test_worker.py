"""A worker isolates failing events, waits for transient errors to go away, and keeps transactions short."""

import asyncio

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
from tests.harness.builders import received, record_of
from tests.harness.rows import Rows
from tests.shared.effects import CONSUMER, FAILING_CENTS, add_effects, credit_reserved, failing_first, subscription


async def consume(database: Database, *events: Received, handlers: Subscription | None = None) -> None:
    """Apply the events as one fetch of a consumer."""
    worker = ConsumerWorker(name=CONSUMER, subscription=handlers or subscription(), sessions=database.sessions)
    await worker.apply([record_of(event) for event in events])


async def test_other_keys_are_applied_while_a_dead_letter_waits_for_its_retry(database: Database) -> None:
    failing, good = new_id(), new_id()
    await consume(
        database,
        received(credit_reserved(failing, cents=FAILING_CENTS), sequence=1),
        received(credit_reserved(good), sequence=1),
        received(credit_reserved(failing), sequence=2),
    )
    await consume(database, received(credit_reserved(good), sequence=2), received(credit_reserved(failing), sequence=3))
    rows = Rows(database.sessions)
    assert await rows.effects() == [(str(good), 1), (str(good), 2)]
    assert await rows.dead_letters() == [
        (str(failing), 1, "retrying"),
        (str(failing), 2, "blocked"),
        (str(failing), 3, "blocked"),
    ]


async def test_an_event_whose_commit_fails_is_found_among_the_others(database: Database) -> None:
    """A handler that records an event too large for the outbox fails only when the transaction commits."""
    failing, good = new_id(), new_id()
    users = Subscription("users")

    @users.on(CreditReserved)
    async def answer(session: AsyncSession, event: CreditReserved, context: EventContext) -> None:
        currency = "x" * 600_000 if event.user_id == failing else "GBP"
        record(session, CreditReserved.model_construct(**{**event.model_dump(), "currency": currency}))
        await add_effects(session, context)

    await consume(
        database,
        received(credit_reserved(good), sequence=1),
        received(credit_reserved(failing), sequence=1),
        received(credit_reserved(good), sequence=2),
        handlers=users,
    )
    rows = Rows(database.sessions)
    assert await rows.effects() == [(str(good), 1), (str(good), 2)]
    assert await rows.dead_letters() == [(str(failing), 1, "retrying")]


async def test_partitions_with_few_events_share_a_transaction(database: Database) -> None:
    users, transactions = Subscription("users"), set()

    @users.on(CreditReserved)
    async def apply(session: AsyncSession, _event: CreditReserved, _context: EventContext) -> None:
        transactions.add(await session.scalar(sa.text("SELECT pg_current_xact_id()::text")))

    events = [received(credit_reserved(), sequence=1, partition=partition) for partition in range(6)]
    await consume(database, *events, handlers=users)
    assert len(transactions) == 1


async def test_an_event_at_the_same_offset_of_another_partition_is_applied(database: Database) -> None:
    """An offset alone names no event of a transaction that several partitions share."""
    failing = received(credit_reserved(cents=FAILING_CENTS), sequence=1, partition=0, offset=7)
    good = received(credit_reserved(), sequence=1, partition=1, offset=7)
    await consume(database, failing, good)
    rows = Rows(database.sessions)
    assert (await rows.effects(), await rows.dead_letters()) == ([(good.key, 1)], [(failing.key, 1, "retrying")])


async def test_slow_events_get_shorter_transactions(database: Database) -> None:
    """A killed process then repeats only little work."""
    users, transactions = Subscription("users"), []

    @users.on(CreditReserved)
    async def apply_slowly(session: AsyncSession, _event: CreditReserved, _context: EventContext) -> None:
        transactions.append(await session.scalar(sa.text("SELECT pg_current_xact_id()::text::bigint")))
        await asyncio.sleep(0.02)

    user_id = new_id()
    await consume(database, *(received(credit_reserved(user_id), sequence=n) for n in range(1, 161)), handlers=users)
    sizes = [transactions.count(transaction) for transaction in dict.fromkeys(transactions)]
    assert sizes[0] == 100
    assert max(sizes[1:]) <= 50


async def test_any_number_of_failing_events_leaves_the_others_applied(database: Database) -> None:
    good = received(credit_reserved(), sequence=1)
    failing = [received(credit_reserved(cents=FAILING_CENTS), sequence=1) for _ in range(MAX_SAVEPOINT_ROUNDS + 2)]
    await consume(database, *failing, good)
    rows = Rows(database.sessions)
    assert await rows.effects() == [(good.key, 1)]
    assert await rows.dead_letters() == [(event.key, 1, "retrying") for event in failing]


@pytest.mark.parametrize(
    "errors",
    [
        pytest.param([ZeroDivisionError()], id="unexpected"),
        pytest.param([TimeoutError(), ConnectionError()], id="transient"),
        pytest.param([ZeroDivisionError(), TimeoutError(), ConnectionError()], id="transient-in-a-savepoint"),
    ],
)
async def test_an_event_that_soon_succeeds_is_no_dead_letter(database: Database, errors: list[Exception]) -> None:
    event = received(credit_reserved(), sequence=1)
    await consume(database, event, handlers=failing_first(*errors))
    rows = Rows(database.sessions)
    assert (await rows.effects(), await rows.dead_letters()) == ([(event.key, 1)], [])

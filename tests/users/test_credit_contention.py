"""64 orders of one user at once, from eight consumers with partitions and connections of their own."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from uuid import UUID

import orjson
import pytest
import sqlalchemy as sa

from services.users.credit.batch import lock_credit
from services.users.settings import Settings
from services.users.subscribers import orders as subscription
from shared.database import open_database
from shared.events.contract import Event
from shared.messaging.consumer.worker import ConsumerWorker
from shared.messaging.envelope import Record
from tests.harness.builders import received, record_of
from tests.harness.databases import until_waiting
from tests.users.orders import Order
from tests.users.service import UsersService

CONSUMERS = 8
ORDERS = 64


@pytest.fixture
async def workers(settings: Settings) -> AsyncIterator[list[ConsumerWorker]]:
    """The consumers, each with a connection of its own to the one database."""
    databases = [open_database(settings.database_url, service="users", pool_size=1) for _ in range(CONSUMERS)]
    yield [
        ConsumerWorker(name="users.orders", subscription=subscription, sessions=database.sessions)
        for database in databases
    ]
    for database in databases:
        await database.close()


def partitions_of(orders: Sequence[tuple[Event, ...]]) -> list[list[Record]]:
    """Return the records of each partition: the events of every eighth order, order by order."""
    return [
        [
            record_of(received(event, sequence=sequence, partition=partition))
            for events in orders[partition::CONSUMERS]
            for sequence, event in enumerate(events, start=1)
        ]
        for partition in range(CONSUMERS)
    ]


async def apply_at_once(
    service: UsersService,
    workers: list[ConsumerWorker],
    user_id: UUID,
    partitions: list[list[Record]],
    *,
    batch_size: int,
) -> None:
    """Let each consumer apply its partition; none begins to decide before all wait for the user's account."""

    async def apply(worker: ConsumerWorker, records: list[Record]) -> None:
        for start in range(0, len(records), batch_size):
            await worker.apply(records[start : start + batch_size])

    async with service.sessions.begin() as session:
        await lock_credit(session, user_ids=[user_id], order_ids=[])
        applying = asyncio.gather(*(apply(*each) for each in zip(workers, partitions, strict=True)))
        await until_waiting(service.sessions, transactions=CONSUMERS)
    await applying


async def replies(service: UsersService) -> list[tuple[str, UUID, int]]:
    """Return type, order and amount of the replies, in the order in which their transactions committed."""
    async with service.sessions() as session:
        rows = await session.execute(
            sa.text("SELECT type, payload FROM outbox WHERE type LIKE 'user.credit_%' ORDER BY sequence")
        )
        found = [(row.type, orjson.loads(row.payload)) for row in rows]
    return [(type_.removeprefix("user.credit_"), UUID(data["order_id"]), data["amount_cents"]) for type_, data in found]


@pytest.mark.parametrize("batch_size", [1, 8])
async def test_exactly_the_covered_orders_are_reserved(
    service: UsersService, workers: list[ConsumerWorker], batch_size: int
) -> None:
    account = await service.create_account(limit_cents=2_550)
    orders = [Order(account.id, total_cents=100) for _ in range(ORDERS)]
    partitions = partitions_of([(each.created(),) for each in orders])

    await apply_at_once(service, workers, account.id, partitions, batch_size=batch_size)

    assert await service.credit(account.id) == (2_500, 0)
    decided = await replies(service)
    assert [type_ for type_, *_ in decided] == ["reserved"] * 25 + ["refused"] * 39
    entries = (await service.ledger(account.id))[1:]
    assert [each.order_id for each in entries] == [order_id for type_, order_id, _ in decided if type_ == "reserved"]
    assert [each.reserved_cents for each in entries] == list(range(100, 2_600, 100))


async def test_each_order_is_decided_by_the_credit_that_the_earlier_commits_left(
    service: UsersService, workers: list[ConsumerWorker]
) -> None:
    account = await service.create_account(limit_cents=5_000)
    orders = [Order(account.id, total_cents=50 + 7 * number) for number in range(ORDERS)]
    steps = [
        (each.created(), *((), (each.cancelled(),), (each.shipped(),))[number // CONSUMERS % 3])
        for number, each in enumerate(orders)
    ]

    await apply_at_once(service, workers, account.id, partitions_of(steps), batch_size=2)

    answered = await replies(service)
    taken = 0
    for type_, order_id, amount_cents in answered:
        if type_ == "refused":
            assert taken + amount_cents > 5_000, order_id
        else:
            taken += amount_cents if type_ == "reserved" else -amount_cents
    assert sum(await service.credit(account.id)) == taken
    # `ledger` checks every balance: within the limit, and the one before it plus the change.
    entries = [(each.kind, each.order_id) for each in await service.ledger(account.id)]
    of_replies = [entry for entry in entries if entry[0] in {"reserved", "released"}]
    assert of_replies == [(type_, order_id) for type_, order_id, _ in answered if type_ != "refused"]
    assert {type_ for type_, *_ in answered} == {"reserved", "refused", "released"}

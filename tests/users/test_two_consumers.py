"""Two consumers change the credit of the same users at once, each from partitions of its own."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest
import sqlalchemy as sa

from services.users.credit.batch import lock_credit
from services.users.settings import Settings
from services.users.subscribers import orders
from shared.database import Database, open_database
from shared.messaging.consumer.worker import ConsumerWorker
from shared.messaging.envelope import Record
from tests.harness.builders import received, record_of
from tests.harness.databases import until_waiting
from tests.users.orders import Order
from tests.users.service import UsersService

USERS = 12
ROUNDS = 8


@pytest.fixture
async def databases(settings: Settings) -> AsyncIterator[list[Database]]:
    """Each consumer's connection to the one database."""
    opened = [open_database(settings.database_url, service="users", pool_size=1) for _ in range(2)]
    yield opened
    for database in opened:
        await database.close()


async def deadlocks(databases: list[Database]) -> int:
    """Return how many deadlocks these connections have had."""
    found = 0
    for database in databases:
        async with database.sessions.begin() as session:
            await session.execute(sa.text("SELECT pg_stat_force_next_flush()"))
        async with database.sessions.begin() as session:
            count = sa.text("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
            found = await session.scalar(count) or 0
    return found


def backlog(users: list[UUID], *, partition: int) -> list[Record]:
    """Return the records of a partition: an order of each user that stays open, one that is cancelled, one shipped."""
    records = []
    for user_id in users:
        placed, cancelled, shipped = (Order(user_id, total_cents=10) for _ in range(3))
        events = [
            (placed.created(), 1),
            (cancelled.created(), 1),
            (shipped.created(), 1),
            (cancelled.cancelled(), 2),
            (shipped.shipped(), 2),
        ]
        records += [record_of(received(event, sequence=n, partition=partition)) for event, n in events]
    return records


async def test_consumers_that_meet_users_in_opposite_orders_do_not_deadlock(
    service: UsersService, databases: list[Database]
) -> None:
    users = [(await service.create_account(email=f"{n}@orderly.example")).id for n in range(USERS)]
    workers = [
        ConsumerWorker(name="users.orders", subscription=orders, sessions=database.sessions) for database in databases
    ]

    for _ in range(ROUNDS):
        forwards, backwards = backlog(users, partition=0), backlog(users[::-1], partition=1)
        # Both wait for the account in the middle, holding what they have locked before it.
        async with service.sessions.begin() as session:
            await lock_credit(session, user_ids=[users[USERS // 2]], order_ids=[])
            applying = asyncio.gather(workers[0].apply(forwards), workers[1].apply(backwards))
            await until_waiting(service.sessions, transactions=2)
        await applying

    assert await deadlocks(databases) == 0
    for user_id in users:
        assert await service.credit(user_id) == (2 * ROUNDS * 10, 2 * ROUNDS * 10)

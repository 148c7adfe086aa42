"""A sample finds credit and stock that are exceeded for a moment, and nothing in databases that are sound."""

import time
from uuid import UUID

import asyncpg
import pytest

from services.orders.catalogue_commands import import_products
from services.orders.schemas import NewProduct
from services.users.accounts.commands import Profile, create_account
from shared.connection_urls import dsn_of
from shared.database import open_database
from tests.chaos.histories.observation import running_beside
from tests.chaos.histories.samples import Sampler
from tests.harness.databases import DatabaseFactory, as_owner
from tests.harness.waiting import until

USER_ID = UUID("0199a6e3-02d4-7f0a-b1c6-6a1f0e2d9b77")
DAMAGES = {
    "users": (
        "ALTER TABLE credit_account DROP CONSTRAINT ck_credit_account_within_limit",
        "UPDATE credit_account SET reserved_cents = 101",
        "UPDATE credit_account SET reserved_cents = 0",
    ),
    "orders": (
        "ALTER TABLE product DROP CONSTRAINT ck_product_reserved_within_stock",
        "UPDATE product SET reserved = 8",
        "UPDATE product SET reserved = 0",
    ),
}
FOUND = {
    "users": {
        f"users {USER_ID}: 101 cents reserved and 0 used, but the limit is 100",
        f"users {USER_ID}: 101 cents reserved and 0 used, but the orders hold 0 and 0",
    },
    "orders": {
        "products LAMP: 8 reserved, but the stock is 7",
        "products LAMP: 8 reserved, but the open orders hold 0",
    },
}

TERMINATE = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND usename = 'users' AND pid <> pg_backend_pid()
"""


@pytest.fixture
async def databases(database_factory: DatabaseFactory) -> dict[str, str]:
    """The databases of users and orders, with a user who has a credit limit of 100 cents, and with 7 lamps."""
    urls = {service: await database_factory(service) for service in DAMAGES}
    users, orders = (open_database(url, service=service, pool_size=1) for service, url in urls.items())
    ada = Profile("ada@example.com", "Ada", None, "en", "UTC")
    lamp = NewProduct(sku="LAMP", name="Lamp", price_cents=5, currency="GBP", stock=7)
    async with users.sessions.begin() as session:
        await create_account(
            session, user_id=USER_ID, profile=ada, password_hash="", credit_limit_cents=100, credit_currency="GBP"
        )
    async with orders.sessions.begin() as session:
        await import_products(session, [lamp])
    await users.close()
    await orders.close()
    return urls


@pytest.mark.parametrize("damaged", DAMAGES)
async def test_a_sample_finds_what_is_exceeded_for_a_moment(databases: dict[str, str], damaged: str) -> None:
    sampler = Sampler(databases, time.monotonic())
    permit, exceed, end = DAMAGES[damaged]
    owner_dsn = dsn_of(as_owner(databases[damaged]))
    async with running_beside(sampler.run()):
        await _until_sampled(sampler)
        assert sampler.violations() == []
        await _execute(owner_dsn, permit, exceed)
        await _until_sampled(sampler)
        await _execute(owner_dsn, end)
        await _until_sampled(sampler)
    assert sampler.first_seen.keys() == FOUND[damaged]


async def test_samples_go_on_after_a_connection_was_terminated(databases: dict[str, str]) -> None:
    sampler = Sampler(databases, time.monotonic())
    async with running_beside(sampler.run()):
        await _until_sampled(sampler)
        await _execute(dsn_of(databases["users"]), TERMINATE)
        await _until_sampled(sampler)


async def _execute(dsn: str, *statements: str) -> None:
    connection = await asyncpg.connect(dsn)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


async def _until_sampled(sampler: Sampler) -> None:
    """Wait until a sample that began after this call has ended."""
    before = sampler.taken

    async def is_sampled() -> bool:
        return sampler.taken >= before + 2

    await until(is_sampled, what="the databases were sampled")

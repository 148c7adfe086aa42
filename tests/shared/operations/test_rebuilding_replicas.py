"""A lost replica is rebuilt from republished state, while people sign up, change their profiles and place orders."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from fastapi import FastAPI

import services.notifications.app
import services.notifications.settings
import services.orders.app
import services.orders.settings
import services.users.app
import services.users.settings
from deploy.local.ports import free_port
from services.orders.catalogue_commands import create_product
from services.orders.commands import place_order
from services.orders.order_rows import PendingLimits
from services.orders.schemas import NewProduct
from services.users.accounts.commands import Profile, create_account, update_profile
from shared.database import Sessions
from shared.ids import new_id
from shared.messaging.kafka import KafkaConnection
from shared.messaging.topics import create_topics
from shared.operations.sending import enqueue_operation
from shared.preconditions import ANY_VERSION
from tests.harness.databases import DatabaseFactory
from tests.harness.encryption_keys import write_encryption_keys
from tests.harness.http_server import served
from tests.harness.mail import MailCatcher
from tests.harness.rows import Rows
from tests.harness.waiting import until

REPLICAS = {"orders": "customer", "notifications": "recipient"}
PEOPLE = 20


@dataclass
class System:
    """The three running services, and the actions of their users."""

    apps: dict[str, FastAPI]
    people: list[UUID]

    def sessions(self, service: str) -> Sessions:
        sessions: Sessions = self.apps[service].state.sessions
        return sessions

    async def rows(self, service: str, query: str) -> list[tuple[Any, ...]]:
        return await Rows(self.sessions(service)).of(query)

    async def sign_up(self) -> None:
        async with self.sessions("users").begin() as session:
            account = await create_account(
                session,
                profile=Profile(f"{new_id()}@orderly.example", "Ada", None, "en", "UTC"),
                password_hash="none",
                credit_limit_cents=10**9,
                credit_currency="GBP",
                email_verified_at=datetime.now(UTC),
            )
        self.people.append(account.id)

    async def rename(self, user_id: UUID, name: str) -> None:
        async with self.sessions("users").begin() as session:
            await update_profile(session, user_id=user_id, precondition=ANY_VERSION, changes={"name": name})

    async def order(self, user_id: UUID) -> None:
        async with self.sessions("orders").begin() as session:
            await place_order(
                session,
                order_id=new_id(),
                user_id=user_id,
                quantities={"A": 1},
                pending_timeout=timedelta(minutes=5),
                limits=PendingLimits(10**6, 10**6),
            )

    async def traffic(self, enough: asyncio.Event) -> int:
        """Place orders, change profiles and sign up until `enough` is set; return the number of orders."""
        orders = 0
        while not enough.is_set():
            person = self.people[orders % PEOPLE]
            await self.order(person)
            await self.rename(person, f"Ada {orders}")
            if orders % 5 == 0:
                await self.sign_up()
            orders += 1
            await asyncio.sleep(0.02)
        return orders

    async def replicas_are_complete(self) -> bool:
        """Return whether each replica equals its source, row by row."""
        source = await self.rows("users", "SELECT id, email, name FROM user_account ORDER BY id")
        replicas = [
            await self.rows(service, f"SELECT user_id, email, name FROM {table} ORDER BY user_id")  # noqa: S608 - ours
            for service, table in REPLICAS.items()
        ]
        return all(replica == source for replica in replicas)


@pytest.fixture
def users_port() -> int:
    return free_port()


@pytest.fixture
async def apps(
    *,
    users_port: int,
    database_factory: DatabaseFactory,
    valkey_url: str,
    kafka_bootstrap_servers: str,
    topic_prefix: str,
    smtp_catcher: MailCatcher,
    tmp_path: Path,
) -> dict[str, FastAPI]:
    await create_topics(KafkaConnection(kafka_bootstrap_servers, topic_prefix))
    token = "a token of the consumers"

    async def common(service: str) -> dict[str, Any]:
        return {
            "database_url": await database_factory(service),
            "valkey_url": valkey_url,
            "kafka_bootstrap_servers": kafka_bootstrap_servers,
            "kafka_topic_prefix": topic_prefix,
            "http_port": 0,
            "users_url": f"http://127.0.0.1:{users_port}",
            "users_token": token,
        }

    users_settings = services.users.settings.Settings.model_validate(
        {
            **await common("users"),
            "encryption_keys_file": write_encryption_keys(tmp_path),
            "service_tokens": {"orders": token, "notifications": token},
            "webauthn_rp_id": "localhost",
            "webauthn_origins": ("http://localhost",),
        }
    )
    orders_settings = services.orders.settings.Settings.model_validate(await common("orders"))
    notifications_settings = services.notifications.settings.Settings.model_validate(
        {
            **await common("notifications"),
            "smtp_url": smtp_catcher.smtp_url,
            "mail_from": "Orderly <no-reply@orderly.example>",
            "public_url": "http://127.0.0.1:1",
        }
    )
    return {
        "users": services.users.app.create_app(users_settings),
        "orders": services.orders.app.create_app(orders_settings),
        "notifications": services.notifications.app.create_app(notifications_settings),
    }


@pytest.fixture
async def system(apps: dict[str, FastAPI], users_port: int) -> AsyncIterator[System]:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(served(apps["users"], port=users_port))
        for app in apps.values():
            await stack.enter_async_context(app.router.lifespan_context(app))
        running = System(apps, [])
        product = {"sku": "A", "name": "Tea", "price_cents": 1, "currency": "GBP", "stock": 10**6}
        async with running.sessions("orders").begin() as session:
            await create_product(session, NewProduct.model_validate(product))
        for _ in range(PEOPLE):
            await running.sign_up()
        yield running


async def test_a_lost_replica_is_rebuilt_while_orders_are_placed(system: System) -> None:
    await until(system.replicas_are_complete, seconds=90, what="the replicas are filled")
    enough = asyncio.Event()
    traffic = asyncio.create_task(system.traffic(enough))
    for service, table in REPLICAS.items():
        async with system.sessions(service).begin() as session:
            await session.execute(sa.text(f"DELETE FROM {table}"))  # noqa: S608 - constants
    async with system.sessions("users").begin() as session:
        operation = await system.apps["users"].state.operations.sending.begin_republication(
            session, types=[], since=None, actor="operator"
        )
        await enqueue_operation(session, operation)

    async def republished() -> bool:
        return await system.rows("users", "SELECT status FROM operation") == [("done",)]

    await until(republished, seconds=60, what="the users are republished")
    enough.set()
    orders = await traffic
    await until(system.replicas_are_complete, seconds=60, what="the replicas are complete again")

    async def all_notified() -> bool:
        sent = await system.rows(
            "notifications",
            "SELECT event_type, count(*) FROM notification JOIN delivery ON delivery.notification_id = notification.id"
            " WHERE channel = 'email' AND status = 'sent' GROUP BY event_type",
        )
        return dict(sent) == {"user.created": len(system.people), "order.confirmed": orders}

    # Nobody is welcomed twice, and mails that were deferred for an unknown address are sent.
    await until(all_notified, seconds=120, what="each event is notified once")
    assert await system.rows("orders", "SELECT DISTINCT status FROM customer_order") == [("confirmed",)]
    for service in system.apps:
        assert await system.rows(service, "SELECT * FROM dead_letter") == []

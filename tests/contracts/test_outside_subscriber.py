"""docs/examples/outside_subscriber.py applies events once, as a process on a real Kafka."""

import asyncio
import json
import os
import sqlite3
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from deploy.local.ports import free_port
from services.users.accounts.commands import Profile, create_account, user_updated
from services.users.app import create_app
from services.users.models.accounts import UserAccount
from services.users.settings import Settings
from shared.database import Sessions
from shared.events.contract import Event
from shared.events.golden import golden_examples
from shared.events.orders import OrderConfirmed, OrderShipped
from shared.ids import new_id
from shared.messaging.envelope import encode_headers
from shared.messaging.kafka import KafkaConnection
from shared.messaging.outbox.outbox import dataschema_of
from shared.messaging.topics import create_topics
from tests.architecture.source import CHECKOUT
from tests.harness.databases import DatabaseFactory
from tests.harness.encryption_keys import write_encryption_keys
from tests.harness.http_server import served

SCRIPT = CHECKOUT / "docs" / "examples" / "outside_subscriber.py"
LINE_TIMEOUT_SECONDS = 60
"""Starting Python and joining a group take a while on a busy machine."""

Send = Callable[..., Awaitable[None]]
"""`send(event, event_id, topic="orders", sequence=1)`"""


@dataclass(frozen=True)
class Subscriber:
    """The example, with its arguments."""

    servers: str
    database: Path
    prefix: str
    subject: str = "orders"

    @property
    def topic(self) -> str:
        """The topic that it follows."""
        return self.prefix + self.subject

    @asynccontextmanager
    async def running(self, **variables: str) -> AsyncIterator[asyncio.StreamReader]:
        """Run it and yield its output; kill it at the end, without a clean shutdown."""
        arguments = [str(SCRIPT), self.servers, str(self.database), self.topic]
        process = await asyncio.create_subprocess_exec(
            sys.executable, *arguments, stdout=asyncio.subprocess.PIPE, env=os.environ | variables
        )
        assert process.stdout
        yield process.stdout
        process.kill()
        await process.wait()

    def applied(self) -> list[str]:
        """Return the numbers of the orders that it has stored."""
        return [number for (number,) in self._rows("SELECT number FROM confirmed ORDER BY rowid")]

    def contacts(self) -> list[tuple[str, str, int]]:
        """Return the users that it has stored, with address and sequence."""
        return self._rows("SELECT user_id, email, sequence FROM contact")

    def _rows(self, query: str) -> list[Any]:
        with sqlite3.connect(self.database) as database:
            rows = database.execute(query).fetchall()
        database.close()
        return rows

    async def committed_offset(self) -> int:
        """Return the highest committed offset of its group over all partitions; -1 if there is none."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.servers)
        await admin.start()
        offsets = await admin.list_consumer_group_offsets(f"outside-subscriber.{self.topic}")
        await admin.close()
        return max((position.offset for position in offsets.values()), default=-1)


@pytest.fixture
async def subscriber(kafka_bootstrap_servers: str, topic_prefix: str, tmp_path: Path) -> Subscriber:
    await create_topics(KafkaConnection(kafka_bootstrap_servers, topic_prefix))
    return Subscriber(kafka_bootstrap_servers, tmp_path / "orders.sqlite3", topic_prefix)


@pytest.fixture
async def send(subscriber: Subscriber) -> AsyncIterator[Send]:
    async with AIOKafkaProducer(bootstrap_servers=subscriber.servers) as producer:

        async def send_event(event: Event, event_id: UUID, *, topic: str = "orders", sequence: int = 1) -> None:
            headers = encode_headers(
                event_id=event_id,
                event_type=event.type,
                source=f"urn:orderly:{topic}",
                dataschema=dataschema_of(event.type),
                occurred_at=datetime.now(UTC),
                key=event.key,
                sequence=sequence,
                traceparent=None,
                tracestate=None,
            )
            value = event.model_dump_json().encode()
            await producer.send_and_wait(subscriber.prefix + topic, value, key=event.key.encode(), headers=headers)

        yield send_event


async def test_an_outside_subscriber_applies_each_confirmed_order_once(subscriber: Subscriber, send: Send) -> None:
    repeated = new_id()
    async with subscriber.running() as output:
        await send(_confirmed("O-1"), repeated)
        await send(_shipped("O-1"), new_id())
        await send(_confirmed("O-1"), repeated)
        await send(_confirmed("O-2"), new_id())
        lines = [await _line(output), await _line(output)]

    assert lines == ["O-1 confirmed: 107.10 GBP", "O-2 confirmed: 107.10 GBP"]
    assert subscriber.applied() == ["O-1", "O-2"]
    assert await subscriber.committed_offset() in {3, 4}, "at least the events before the last one are committed"


async def test_an_outside_subscriber_resumes_after_it_was_killed(subscriber: Subscriber, send: Send) -> None:
    async with subscriber.running() as output:
        await send(_confirmed("O-1"), new_id())
        await _line(output)
    await send(_confirmed("O-2"), new_id())
    async with subscriber.running() as output:
        line = await _line(output)

    assert line == "O-2 confirmed: 107.10 GBP"
    assert subscriber.applied() == ["O-1", "O-2"]


async def test_an_outside_subscriber_opens_sealed_contacts_and_deletes_those_of_erased_users(
    subscriber: Subscriber, send: Send, database_factory: DatabaseFactory, valkey_url: str, tmp_path: Path
) -> None:
    port, token = free_port(), "the token of an outsider"
    settings = users_settings_of(await database_factory("users"), valkey_url, tmp_path, token=token)
    app = create_app(settings)
    variables = {"USERS_URL": f"http://127.0.0.1:{port}", "USERS_TOKEN": token}
    async with served(app, port=port), replace(subscriber, subject="users").running(**variables) as output:
        account = await _account(app.state.sessions)
        await send(user_updated(account), new_id(), topic="users", sequence=2)
        assert await _line(output) == f"{account.id}: replaced"
        assert subscriber.contacts() == [(str(account.id), "grace@orderly.example", 2)]
        event = user_updated(account)
        async with app.state.sessions.begin() as session:
            await session.execute(sa.text("UPDATE user_account SET personal_key = NULL"))
        await send(event, new_id(), topic="users", sequence=3)
        assert await _line(output) == f"{account.id}: erased"
    assert subscriber.contacts() == []
    await app.state.sessions.kw["bind"].dispose()
    await app.state.cache.close()


def users_settings_of(database_url: str, valkey_url: str, folder: Path, *, token: str) -> Settings:
    return Settings(
        database_url=database_url,
        valkey_url=valkey_url,
        kafka_bootstrap_servers="127.0.0.1:1",
        encryption_keys_file=write_encryption_keys(folder),
        service_tokens={"outsider": token},
        webauthn_rp_id="localhost",
        webauthn_origins=("http://localhost:8080",),
    )


async def _account(sessions: Sessions) -> UserAccount:
    async with sessions.begin() as session:
        return await create_account(
            session,
            profile=Profile("grace@orderly.example", "Grace Hopper", None, "en", "UTC"),
            password_hash="none",
            credit_limit_cents=0,
            credit_currency="GBP",
        )


def _confirmed(number: str) -> OrderConfirmed:
    return OrderConfirmed.model_validate_json(_json_of("order.confirmed")).model_copy(update={"number": number})


def _shipped(number: str) -> OrderShipped:
    return OrderShipped.model_validate_json(_json_of("order.shipped")).model_copy(update={"number": number})


def _json_of(event_type: str) -> bytes:
    return json.dumps(golden_examples(event_type)[-1]).encode()


async def _line(output: asyncio.StreamReader) -> str:
    async with asyncio.timeout(LINE_TIMEOUT_SECONDS):
        return (await output.readline()).decode().strip()

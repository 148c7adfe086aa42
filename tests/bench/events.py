"""The events that relay, consumer and baselines process: of many keys, with everything that real ones carry."""

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import TypedDict
from uuid import UUID

import sqlalchemy as sa
from aiokafka import AIOKafkaProducer

from shared.database import open_database
from shared.events.users import Contact, UserUpdated
from shared.ids import new_id
from shared.messaging.envelope import Headers, encode_headers
from shared.messaging.outbox.outbox import dataschema_of, record
from shared.personal_data import new_personal_key, seal
from shared.telemetry import continued_trace, current_traceparent
from tests.bench.arrivals import start_each_at

_USER_ID = UUID("0199a6e2-7c1e-7b7c-8a55-0d6b8f4f2c11")
_PERSONAL = seal(
    Contact(email="grace.hopper@example.com", name="Grace Brewster Hopper", phone="+442079412345"),
    key=new_personal_key(),
    user_id=_USER_ID,
)
"""Sealed once: every event has one of this length, and no benchmark opens it."""
TOPIC = UserUpdated.topic
KEYS = 2_000
FILL_TRANSACTION_EVENTS = 500


class Message(TypedDict):
    """An event as Kafka stores it: the arguments of a producer's `send`."""

    key: bytes
    value: bytes
    headers: Headers


def user_events() -> Iterator[UserUpdated]:
    """Generate events without end, of KEYS users in turn; each has some 450 bytes of JSON."""
    users = [new_id() for _ in range(KEYS)]
    while True:
        for number, user_id in enumerate(users):
            yield user_event(user_id, number)


def user_event(user_id: UUID, number: int) -> UserUpdated:
    """Return an event of a user with data of usual length."""
    return UserUpdated(
        user_id=user_id,
        personal=f"{_PERSONAL}{number:05}",
        locale="en-GB",
        time_zone="Europe/London",
        email_verified=True,
    )


async def fill_outbox(database_url: str, *, events: int) -> None:
    """Record events with a service's session, then vacuum the outbox, so that autovacuum runs in no measurement."""
    database = open_database(database_url, service="users", pool_size=1)
    remaining = islice(user_events(), events)
    while transaction := list(islice(remaining, FILL_TRANSACTION_EVENTS)):
        with continued_trace(None):
            async with database.sessions.begin() as session:
                for event in transaction:
                    record(session, event)
    async with database.engine.connect() as connection:
        await (await connection.execution_options(isolation_level="AUTOCOMMIT")).execute(
            sa.text("VACUUM (ANALYZE) outbox")
        )
    await database.close()


def messages(count: int) -> list[Message]:
    """Return the same events, ready to be sent."""
    return [message_of(event, sequence=number // KEYS + 1) for number, event in enumerate(islice(user_events(), count))]


def message_of(event: UserUpdated, *, sequence: int) -> Message:
    """Return an event as Kafka stores it."""
    with continued_trace(None):
        headers = encode_headers(
            event_id=new_id(),
            event_type=event.type,
            source="urn:orderly:users",
            dataschema=dataschema_of(event.type),
            occurred_at=datetime.now(UTC),
            key=event.key,
            sequence=sequence,
            traceparent=current_traceparent(),
            tracestate=None,
        )
    return Message(key=event.key.encode(), value=event.model_dump_json().encode(), headers=headers)


async def send_at_rate(
    kafka: str, topic: str, messages: Sequence[Message], *, per_second: int, warm_up_seconds: int
) -> dict[str, tuple[float, float]]:
    """Send at a rate; return when each event was sent and acknowledged, by the monotonic clock, without the warm-up."""
    times: dict[str, tuple[float, float]] = {}
    async with AIOKafkaProducer(bootstrap_servers=kafka, acks="all", enable_idempotence=True) as producer:

        async def send(number: int, message: Message) -> None:
            sent_at = time.monotonic()
            await producer.send_and_wait(topic, **message)
            if number >= warm_up_seconds * per_second:
                times[dict(message["headers"])["ce_id"].decode()] = sent_at, time.monotonic()

        await start_each_at([(number / per_second, partial(send, number, one)) for number, one in enumerate(messages)])
    return times

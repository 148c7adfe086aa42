"""The events that the relay and its rivals send: of many keys, with all that real ones carry."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from uuid import UUID

import sqlalchemy as sa
from aiokafka import AIOKafkaConsumer, TopicPartition

from shared.database import open_database
from shared.events.users import UserUpdated
from shared.ids import new_id
from shared.messaging.envelope import Headers, encode_headers
from shared.messaging.outbox.outbox import dataschema_of, record
from shared.telemetry import continued_trace

TOPIC = UserUpdated.topic
KEYS = 2_000
TRANSACTION_EVENTS = 500


class EventsMissing(Exception):
    """Not everything arrived: a benchmark of something that loses is void."""


@dataclass(frozen=True)
class Message:
    """An event as Kafka gets it."""

    key: bytes
    value: bytes
    headers: Headers


def user_events() -> Iterator[UserUpdated]:
    """Without end, of KEYS users in turn; some 200 bytes of JSON each."""
    users = [new_id() for _ in range(KEYS)]
    while True:
        for number, user_id in enumerate(users):
            yield user_event(user_id, number)


def user_event(user_id: UUID, number: int) -> UserUpdated:
    """Of a user whose data are as long as anybody's."""
    return UserUpdated(
        user_id=user_id,
        email=f"grace.hopper.{number:05}@example.com",
        name=f"Grace Brewster Hopper {number:05}",
        phone=f"+4420794{number:05}",
        locale="en-GB",
        time_zone="Europe/London",
    )


async def fill_outbox(database_url: str, *, events: int) -> None:
    """By the session that every service has."""
    database = open_database(database_url, service="users", pool_size=1)
    waiting = islice(user_events(), events)
    while transaction := list(islice(waiting, TRANSACTION_EVENTS)):
        with continued_trace(None):
            async with database.sessions.begin() as session:
                for event in transaction:
                    record(session, event)
    async with database.engine.connect() as connection:
        # As autovacuum does every minute, and not just while something is measured.
        await (await connection.execution_options(isolation_level="AUTOCOMMIT")).execute(
            sa.text("VACUUM (ANALYZE) outbox")
        )
    await database.close()


def messages(count: int) -> list[Message]:
    """The same events, ready to be sent."""
    return [message_of(event, sequence=number // KEYS + 1) for number, event in enumerate(islice(user_events(), count))]


def message_of(event: UserUpdated, *, sequence: int) -> Message:
    with continued_trace(None) as trace:
        headers = encode_headers(
            event_id=new_id(),
            event_type=event.type,
            source="urn:orderly:users",
            dataschema=dataschema_of(event.type),
            occurred_at=datetime.now(UTC),
            key=event.key,
            sequence=sequence,
            traceparent=trace.traceparent,
            tracestate=None,
        )
    return Message(key=event.key.encode(), value=event.model_dump_json().encode(), headers=headers)


async def count_messages(kafka: str, topic: str) -> int:
    """In all partitions, by their offsets."""
    async with AIOKafkaConsumer(bootstrap_servers=kafka) as consumer:
        cluster = await consumer._client.fetch_all_metadata()
        partitions = [TopicPartition(topic, number) for number in cluster.partitions_for_topic(topic)]
        ends = await consumer.end_offsets(partitions)
    return sum(ends.values())


async def expect_messages(kafka: str, topic: str, *, before: int, events: int) -> None:
    """Raises: EventsMissing unless just `events` came since `before` were counted."""
    came = await count_messages(kafka, topic) - before
    if came != events:
        raise EventsMissing(f"{came:,} of {events:,} events are in {topic}")

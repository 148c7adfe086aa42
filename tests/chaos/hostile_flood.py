"""The consumers of all services under a flood of hostile records, beside honest events: what became of each."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, MutableMapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import import_module
from typing import Any
from uuid import UUID

import structlog
from aiokafka import AIOKafkaProducer

from shared.database import Database, open_database
from shared.events.contract import Event
from shared.events.topics import topic_named
from shared.ids import new_id
from shared.messaging.consumer import inbox
from shared.messaging.consumer.group import ConsumerGroups
from shared.messaging.consumer.subscription import Subscription, by_consumer
from shared.messaging.consumer.worker import ConsumerWorker
from shared.messaging.envelope import Received, decode_records, encode_headers
from shared.messaging.kafka import KafkaConnection
from shared.messaging.outbox.outbox import dataschema_of
from shared.messaging.outbox.publisher import partition_of
from shared.messaging.topics import create_topics
from tests.architecture.source import SERVICES
from tests.chaos.consumer_group import lag_of
from tests.chaos.honest_events import HonestEvents
from tests.chaos.hostile_records import HostileRecords, send_hostile
from tests.harness.databases import DatabaseFactory
from tests.harness.kafka_topics import read_topic
from tests.harness.rows import Rows
from tests.harness.waiting import until

HONEST_KEYS = 10
HONEST_INTERVAL_SECONDS = 0.02
"""Delay between two honest events of a topic."""
LAST_HONEST_EVENTS = 5 * HONEST_KEYS
"""Honest events after the flood: what it did to a key shows at the key's next events."""
POLL_SECONDS = 0.05
DEATHS = frozenset({"consumer_died", "fetch_failed", "poll_failed", "fetch_given_up", "consumer_not_ended"})
"""Log events after which a consumer did not do its work in order."""


@dataclass(frozen=True)
class Consumer:
    """A consumer of a service, and its database."""

    name: str
    subscription: Subscription
    database: Database


@dataclass
class Outcome:
    """The fate of a topic's records at one consumer."""

    records: Counter[str] = field(default_factory=Counter)
    """Number of records by what became of them: ignored, applied, or the reason of the dead letter."""
    honest_delays: list[float] = field(default_factory=list)
    """Seconds from the sending of each honest event to its commit."""
    violations: list[str] = field(default_factory=list)


@dataclass
class Flood:
    """The topics, the records sent to them, and the consumers."""

    bootstrap_servers: str
    topic_prefix: str
    consumers: list[Consumer]
    honest: dict[str, HonestEvents]
    sent_at: dict[UUID, float] = field(default_factory=dict)
    """The times of the honest events that were sent."""

    async def send_honest(self, producer: AIOKafkaProducer, topic: str, *, ended: asyncio.Event) -> None:
        """Send one honest event after the other until the flood has ended, and some more."""
        left = LAST_HONEST_EVENTS
        for sequence, event in self.honest[topic]:
            if ended.is_set():
                left -= 1
            if not left:
                return
            event_id, key = new_id(), event.key.encode()
            headers = _headers_of(event, event_id=event_id, sequence=sequence)
            self.sent_at[event_id] = time.monotonic()
            await producer.send_and_wait(
                self.topic_prefix + topic,
                value=event.model_dump_json().encode(),
                key=key,
                headers=headers,
                partition=partition_of(key, topic_named(topic).partitions),
            )
            self.honest[topic].sent[event.type].append(event_id)
            await asyncio.sleep(HONEST_INTERVAL_SECONDS)

    def honest_ids(self, consumer: Consumer) -> list[UUID]:
        """Return the ids of the honest events that a consumer has to apply."""
        sent = self.honest[consumer.subscription.topic].sent
        return [id_ for each in consumer.subscription.event_types for id_ in sent.get(each.type, ())]

    async def watch_honest(self, consumer: Consumer, outcome: Outcome) -> None:
        """Note the delay of each honest event at a consumer. Runs until it is cancelled."""
        seen: set[UUID] = set()
        while True:
            pending = [event_id for event_id in self.honest_ids(consumer) if event_id not in seen]
            applied = await _applied(consumer, pending)
            now = time.monotonic()
            outcome.honest_delays += [now - self.sent_at[event_id] for event_id in applied]
            seen |= applied
            await asyncio.sleep(POLL_SECONDS)

    async def is_consumed(self) -> bool:
        """Return whether every consumer has committed the end of its topic."""
        lags = [
            await lag_of(
                self.bootstrap_servers,
                group=self.topic_prefix + each.name,
                topic=self.topic_prefix + each.subscription.topic,
            )
            for each in self.consumers
        ]
        return not any(lags)

    async def judge(self, consumer: Consumer, outcome: Outcome) -> None:
        """Find out what became of each record of the consumer's topic, and of each honest event."""
        rows = Rows(consumer.database.sessions)
        query = 'SELECT partition, "offset", reason FROM dead_letter WHERE consumer = :consumer'
        reasons = {
            (partition, offset): reason for partition, offset, reason in await rows.of(query, consumer=consumer.name)
        }
        query = "SELECT key, sequence FROM inbox_sequence WHERE consumer = :consumer"
        positions: dict[str, int] = dict(await rows.of(query, consumer=consumer.name))
        known = await _applied(consumer, None)
        for event in decode_records(
            await read_topic(self.bootstrap_servers, self.topic_prefix + consumer.subscription.topic)
        ):
            became = reasons.get(event.place) or _became(event, consumer.subscription, known=known, positions=positions)
            outcome.records[became or "lost"] += 1
            if became is None:
                outcome.violations.append(f"the record at {event.place} was neither applied, ignored nor dead-lettered")
        honest = self.honest_ids(consumer)
        if missing := set(honest) - await _applied(consumer, honest):
            outcome.violations.append(f"{len(missing)} of {len(honest)} honest events were not applied")
        query = "SELECT event_id, reason FROM dead_letter WHERE event_id = ANY(:ids) AND reason <> 'foreign'"
        outcome.violations += [
            f"the honest event {event_id} is a dead letter: {reason}"
            for event_id, reason in await rows.of(query, ids=honest)
        ]


async def run_flood(
    databases: DatabaseFactory,
    *,
    bootstrap_servers: str,
    topic_prefix: str,
    records: int,
    seed: int,
    seconds: float,
    per_second: float | None = None,
) -> dict[str, Outcome]:
    """Send hostile records to every consumed topic while honest events are sent; return the outcome by consumer.

    They are sent at the given rate, or as fast as Kafka takes them: then honest events wait behind them.

    Raises: AssertionError if the consumers have not consumed everything after `seconds`.
    """
    kafka = KafkaConnection(bootstrap_servers, topic_prefix)
    await create_topics(kafka)
    async with AsyncExitStack() as stack:
        consumers = await stack.enter_async_context(_running_consumers(databases, kafka))
        topics = sorted({each.subscription.topic for each in consumers})
        flood = Flood(
            bootstrap_servers, topic_prefix, consumers, {topic: HonestEvents(topic, HONEST_KEYS) for topic in topics}
        )
        outcomes = {each.name: Outcome() for each in consumers}
        producer = await stack.enter_async_context(AIOKafkaProducer(bootstrap_servers=bootstrap_servers, linger_ms=5))
        logged = stack.enter_context(counted_logs())
        ended = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            watches = [group.create_task(flood.watch_honest(each, outcomes[each.name])) for each in consumers]
            honest = [group.create_task(flood.send_honest(producer, topic, ended=ended)) for topic in topics]
            hostile = {
                topic: HostileRecords(topic, seed=seed, honest_keys=flood.honest[topic].keys) for topic in topics
            }
            sending = [
                send_hostile(producer, each, topic=topic_prefix + topic, records=records, per_second=per_second)
                for topic, each in hostile.items()
            ]
            await asyncio.gather(*sending)
            ended.set()
            await asyncio.gather(*honest)
            await until(flood.is_consumed, seconds=seconds, what="everything is consumed", poll_seconds=0.5)
            for task in watches:
                task.cancel()
        for each in consumers:
            await flood.judge(each, outcomes[each.name])
            outcomes[each.name].violations += [f"{death}: {logged[death]} times" for death in DEATHS & logged.keys()]
        return outcomes


@asynccontextmanager
async def _running_consumers(databases: DatabaseFactory, kafka: KafkaConnection) -> AsyncIterator[list[Consumer]]:
    """Run the consumers of all services; yield them."""
    consumers = []
    async with AsyncExitStack() as stack:
        for service in SERVICES:
            database = open_database(await databases(service), service=service, pool_size=5)
            stack.push_async_callback(database.close)
            subscriptions = by_consumer(service, import_module(f"services.{service}.subscribers").SUBSCRIPTIONS)
            groups = ConsumerGroups(
                [
                    ConsumerWorker(name=name, subscription=subscription, sessions=database.sessions)
                    for name, subscription in subscriptions.items()
                ],
                kafka=kafka,
                client_id=service,
            )
            await groups.run()
            stack.push_async_callback(groups.stop)
            consumers += [Consumer(name, subscription, database) for name, subscription in subscriptions.items()]
        yield consumers


@contextmanager
def counted_logs() -> Iterator[Counter[str]]:
    """Count the log's events by name instead of printing them."""
    counts: Counter[str] = Counter()

    def count(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        counts[event["event"]] += 1
        raise structlog.DropEvent

    processors = structlog.get_config()["processors"]
    before = list(processors)
    processors[:] = [count]
    try:
        yield counts
    finally:
        processors[:] = before


async def _applied(consumer: Consumer, event_ids: list[UUID] | None) -> set[UUID]:
    """Return which of these events a consumer knows, or all that it knows."""
    rows = Rows(consumer.database.sessions)
    query = "SELECT event_id FROM inbox WHERE consumer = :consumer"
    if event_ids is None:
        found = await rows.of(query, consumer=consumer.name)
    else:
        found = await rows.of(f"{query} AND event_id = ANY(:ids)", consumer=consumer.name, ids=event_ids)
    return {event_id for (event_id,) in found}


def _became(event: Received, subscription: Subscription, *, known: set[UUID], positions: dict[str, int]) -> str | None:
    """Return what became of a record that is no dead letter; None if it was lost."""
    event_type = (event.headers.get("ce_type") or b"").decode("utf-8", "replace")
    if event_type and event_type not in {each.type for each in subscription.event_types}:
        return "ignored"
    if event.context is None:
        return None
    if event.context.event_id in known:
        return "applied"
    # A duplicate of a day that the inbox does not keep.
    is_old = event.context.day not in inbox.remembered_days()
    return "old duplicate" if is_old and event.context.sequence <= positions.get(event.key, 0) else None


def _headers_of(event: Event, *, event_id: UUID, sequence: int) -> list[tuple[str, bytes]]:
    return encode_headers(
        event_id=event_id,
        event_type=event.type,
        source=topic_named(event.topic).source,
        dataschema=dataschema_of(event.type),
        occurred_at=datetime.now(UTC),
        key=event.key,
        sequence=sequence,
        traceparent=None,
        tracestate=None,
    )

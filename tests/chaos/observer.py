"""Collects the observed state for the oracle: from both databases, from the topic, and from the writers' files."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TypeAlias
from uuid import UUID

import asyncpg
from aiokafka import ConsumerRecord
from aiokafka.errors import KafkaError

from shared.connection_errors import CONNECTION_ERRORS
from shared.connection_urls import dsn_of
from shared.messaging.envelope import decode_records
from tests.chaos.accounts import CONSUMER
from tests.chaos.consumer_group import lag_of
from tests.chaos.environment import Environment
from tests.chaos.oracle import ObservedState, Occurrence
from tests.harness.kafka_topics import read_topic
from tests.harness.waiting import until

IsHostile: TypeAlias = "Callable[[ConsumerRecord[bytes | None, bytes | None]], bool]"

POLL_SECONDS = 0.25
LATE_SECONDS = 120.0
"""The additional wait after the deadline: without it, late events would look like lost ones."""


async def observe(
    environment: Environment,
    *,
    within_seconds: float = 60,
    late_seconds: float = LATE_SECONDS,
    is_hostile: IsHostile = lambda _record: False,
) -> ObservedState:
    """Wait until nothing is under way, then collect everything; `unsent` and `lag` are those at the deadline.

    Hostile records and their dead letters are left out. If one of their events was applied, it is found as an event
    that nobody has committed.
    """
    unsent, lag = await _wait_until_settled(environment, within_seconds=within_seconds)
    if unsent or lag:
        await _wait_until_settled(environment, within_seconds=late_seconds)
    producer = await asyncpg.connect(dsn_of(environment.producer_url))
    consumer = await asyncpg.connect(dsn_of(environment.consumer_url))
    committed: dict[str, list[UUID]] = defaultdict(list)
    ledger = await producer.fetch("SELECT operation, account::text, event_id FROM ledger ORDER BY id")
    for row in ledger:
        committed[row["account"]].append(row["event_id"])
    accounts = await producer.fetch("SELECT id::text, reserved_cents FROM account")
    effects = await consumer.fetch("SELECT key, sequence, event_id FROM effect ORDER BY id")
    dead_letters = await consumer.fetch(
        'SELECT partition, "offset", key, sequence, event_id, reason FROM dead_letter WHERE consumer = $1 ORDER BY id',
        CONSUMER,
    )
    extremes = await consumer.fetchrow("SELECT min(cents_after), max(cents_after) FROM effect")
    balances = await consumer.fetch("SELECT account, cents FROM balance")
    await producer.close()
    await consumer.close()
    records = await read_topic(environment.kafka, environment.topic)
    hostile = {(record.partition, record.offset) for record in records if is_hostile(record)}
    return ObservedState(
        committed=committed,
        acknowledged=frozenset(_acknowledged(environment)),
        operations=frozenset(row["operation"] for row in ledger),
        records=_occurrences([record for record in records if (record.partition, record.offset) not in hostile]),
        effects=[Occurrence(*row) for row in effects],
        dead_letters=[
            Occurrence(*rest) for partition, offset, *rest in dead_letters if (partition, offset) not in hostile
        ],
        reserved_cents=dict(tuple(row) for row in accounts),
        balances_cents=dict(tuple(row) for row in balances),
        balance_extremes_cents=(extremes[0] or 0, extremes[1] or 0) if extremes else (0, 0),
        unsent=unsent,
        lag=lag,
    )


async def wait_for_outbox(environment: Environment, *, max_rows: int) -> None:
    """Wait until the outbox has no more than `max_rows` rows. Raises: AssertionError after a minute."""
    producer = await asyncpg.connect(dsn_of(environment.producer_url))

    async def is_short() -> bool:
        count: int = await producer.fetchval("SELECT count(*) FROM outbox")
        return count <= max_rows

    try:
        await until(is_short, what=f"at most {max_rows} rows in the outbox", poll_seconds=POLL_SECONDS)
    finally:
        await producer.close()


async def wait_for_sent(environment: Environment, *, events: int) -> None:
    """Wait until the relay has moved at least so many events. Raises: AssertionError after a minute."""
    producer = await asyncpg.connect(dsn_of(environment.producer_url))

    async def are_moved() -> bool:
        count: int = await producer.fetchval("SELECT count(*) FROM outbox_sent")
        return count >= events

    try:
        await until(are_moved, what=f"{events} events are moved", poll_seconds=POLL_SECONDS)
    finally:
        await producer.close()


async def _wait_until_settled(environment: Environment, *, within_seconds: float) -> tuple[int, int]:
    """Wait until the outbox is empty and the consumer has no lag; return both as they are then or at the deadline."""
    deadline = time.monotonic() + within_seconds
    while True:
        left = await _unsent_and_lag(environment)
        if left == (0, 0) or time.monotonic() > deadline:
            return left
        await asyncio.sleep(POLL_SECONDS)


async def _unsent_and_lag(environment: Environment) -> tuple[int, int]:
    """Return -1 for both while a server is unavailable: it may only be restarting."""
    try:
        producer = await asyncpg.connect(dsn_of(environment.producer_url), timeout=5)
        unsent: int = await producer.fetchval("SELECT count(*) FROM outbox")
        await producer.close()
        return unsent, await lag_of(environment.kafka, group=environment.group, topic=environment.topic)
    except (KafkaError, *CONNECTION_ERRORS):
        return -1, -1


def _occurrences(records: "Sequence[ConsumerRecord[bytes | None, bytes | None]]") -> list[Occurrence]:
    return [
        Occurrence(
            key=received.key,
            sequence=received.context.sequence if received.context else None,
            event_id=received.context.event_id if received.context else None,
        )
        for received in decode_records(records)
    ]


def _acknowledged(environment: Environment) -> list[UUID]:
    file = environment.acknowledged
    return [UUID(line) for line in file.read_text().splitlines()] if file.exists() else []

"""The processes in which the delay is measured: a writer at a steady rate, a relay that notes what it sees, or both."""

import asyncio
import json
import signal
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import asyncpg
from aiokafka import AIOKafkaProducer

from shared.database import Sessions, dsn_of, open_database
from shared.events.contract import Event
from shared.messaging.outbox.outbox import record
from shared.messaging.outbox.publisher import Acknowledged, Publisher, PublishError
from shared.messaging.outbox.relay import Relay
from shared.messaging.outbox.wake_up import Notifier
from shared.telemetry import continued_trace
from tests.bench.arrivals import started_at
from tests.bench.backlog import TOPIC, Message, messages, user_events
from tests.chaos.worker import begin

RATE = 500
TRANSACTION_EVENTS = 5
"""A transaction costs its writer over 1 ms of processor: 500 a second would leave its process none for a relay."""
SECONDS = 10
WARM_SECONDS = 2
"""At the beginning, not counted: connections are opened, and a relay comes to lead."""
POOL_SIZE = 10
DRAINED_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a process is to do. `begun` and `acked` are written into `folder` under `name`."""

    roles: frozenset[str]
    """Of writer, relay and bare."""
    database_url: str
    kafka: str
    topic_prefix: str
    folder: Path
    name: str


class NotingPublisher(Publisher):
    """Notes when it learns that a row is in Kafka."""

    acknowledged: dict[str, float]

    async def publish(self, rows: Sequence[asyncpg.Record]) -> tuple[list[Acknowledged], dict[str, PublishError]]:
        sent, failed = await super().publish(rows)
        now = time.monotonic()
        ids = {row["id"]: str(row["event_id"]) for row in rows}
        self.acknowledged.update((ids[one.row_id], now) for one in sent)
        return sent, failed


def main(plan: Plan) -> None:
    """Carry out the plan; a relay alone works until SIGTERM."""
    begin(log=plan.folder / f"{plan.name}.log", seed=0, points="")
    asyncio.run(_send_bare(plan) if "bare" in plan.roles else _work(plan))


async def _work(plan: Plan) -> None:
    dsn = dsn_of(plan.database_url)
    publisher = NotingPublisher(bootstrap_servers=plan.kafka, client_id=plan.name, topic_prefix=plan.topic_prefix)
    publisher.acknowledged = {}
    relay, notifier = Relay(dsn=dsn, publisher=publisher), Notifier(dsn=dsn)
    # As a service wires it.
    database = open_database(
        plan.database_url,
        service="users",
        pool_size=POOL_SIZE,
        on_events_committed=lambda: relay.wake() if relay.is_leader else notifier.wake(),
    )
    loops = [asyncio.create_task(notifier.run())]
    if "relay" in plan.roles:
        loops.append(asyncio.create_task(relay.run()))
    if "writer" in plan.roles:
        begun = await _write(database.sessions)
        _note(plan, "begun", begun)
        await _until(lambda: "relay" not in plan.roles or begun.keys() <= publisher.acknowledged.keys())
    else:
        await _terminated()
    relay.stop()
    notifier.stop()
    await asyncio.gather(*loops)
    await relay.close()
    await database.close()
    _note(plan, "acked", publisher.acknowledged)


async def _write(sessions: Sessions) -> dict[str, float]:
    """TRANSACTION_EVENTS in each transaction; when its commit had returned, without the warm-up's."""
    committed: dict[str, float] = {}

    async def commit(number: int, events: Sequence[Event]) -> None:
        with continued_trace(None):
            async with sessions.begin() as session:
                event_ids = [record(session, event) for event in events]
        if number * TRANSACTION_EVENTS >= RATE * WARM_SECONDS:
            committed.update(dict.fromkeys(map(str, event_ids), time.monotonic()))

    starts = [partial(commit, number, events) for number, events in enumerate(_transactions())]
    await _at_the_rate(starts, per_second=RATE / TRANSACTION_EVENTS)
    return committed


def _transactions() -> list[list[Event]]:
    events = user_events()
    return [
        list(islice(events, TRANSACTION_EVENTS)) for _ in range(RATE * (WARM_SECONDS + SECONDS) // TRANSACTION_EVENTS)
    ]


async def _send_bare(plan: Plan) -> None:
    sent: dict[str, float] = {}
    acknowledged: dict[str, float] = {}
    async with AIOKafkaProducer(bootstrap_servers=plan.kafka, acks="all", enable_idempotence=True) as producer:

        async def send(number: int, message: Message) -> None:
            started = time.monotonic()
            await producer.send_and_wait(
                plan.topic_prefix + TOPIC, key=message.key, value=message.value, headers=message.headers
            )
            if number >= RATE * WARM_SECONDS:
                sent[str(number)], acknowledged[str(number)] = started, time.monotonic()

        prepared = messages(RATE * (WARM_SECONDS + SECONDS))
        await _at_the_rate([partial(send, number, message) for number, message in enumerate(prepared)], per_second=RATE)
    _note(plan, "begun", sent)
    _note(plan, "acked", acknowledged)


async def _at_the_rate(starts: Sequence[Callable[[], Coroutine[Any, Any, None]]], *, per_second: float) -> None:
    await started_at((number / per_second, start) for number, start in enumerate(starts))


async def _terminated() -> None:
    asked = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asked.set)
    await asked.wait()


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DRAINED_SECONDS):
        while not condition():  # noqa: ASYNC110 - the relay tells nobody
            await asyncio.sleep(0.05)


def _note(plan: Plan, what: str, times: dict[str, float]) -> None:
    (plan.folder / f"{plan.name}.{what}").write_text(json.dumps(times))

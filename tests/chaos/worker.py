"""One process of the workload's small services, made of the real parts: writer, relay and consumer, as its plan says.

Forked by `nursery`, in a process that has imported all this already: a start costs milliseconds, and kill -9 is real.
"""

import asyncio
import ctypes
import os
import random
import signal
from collections.abc import Coroutine
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog
from aiokafka import AIOKafkaProducer

from shared.database import Sessions, dsn_of, open_database
from shared.messaging import failpoints
from shared.messaging.consumer.group import ConsumerGroups
from shared.messaging.consumer.worker import ConsumerWorker
from shared.messaging.outbox.lease import Lease
from shared.messaging.outbox.publisher import Publisher
from shared.messaging.outbox.relay import Relay
from shared.messaging.outbox.wake_up import Notifier
from tests.chaos.accounts import BROKEN_CENTS, READER, REFUSED_CENTS, STEP_CENTS, TOPIC, Workload, operate, reader
from tests.chaos.mutants import MUTANTS

PR_SET_PDEATHSIG = 1
HANDS = 3
"""Operations that a writer has open at once: they wait for each other's accounts."""
RETRY_PAUSE_SECONDS = 0.1
GIVE_UP_SECONDS = 20.0

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a worker is to do, and with what."""

    name: str
    roles: frozenset[str]
    """Of writer, relay and consumer."""
    seed: int
    sender_url: str
    reader_url: str
    kafka: str
    topic_prefix: str
    folder: Path
    workload: Workload
    operations: int | None = None
    """How many the writer carries out before it rests; None: until it is stopped."""
    failpoints: str = ""
    mutant: str | None = None
    lease_seconds: float = 5.0

    @property
    def acknowledged(self) -> Path:
        """Where a writer notes the operations whose commit it was told of."""
        return self.folder / "acknowledged"

    @property
    def rested(self) -> Path:
        """Is there when a writer has carried out all of its operations."""
        return self.folder / f"rested-{self.seed}"


class Abandoned(Exception):
    """The writer thinks better of it, after all is recorded."""


def main(plan: Plan) -> None:
    """Run the plan until SIGTERM."""
    begin(log=plan.folder / f"{plan.name}.log", seed=plan.seed, points=plan.failpoints)
    Lease.duration = timedelta(seconds=plan.lease_seconds)
    if plan.mutant is not None:
        MUTANTS[plan.mutant]()
    asyncio.run(_work(plan))


def begin(*, log: Path, seed: int, points: str) -> None:
    """What a forked process does first: it ends with its parent, has its own log, its own chance and its failpoints."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(file, stream)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"]),
        ],
    )
    random.seed(seed)
    failpoints._points.update(failpoints.parse(points))


async def _work(plan: Plan) -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    async with AsyncExitStack() as stack:
        loops: list[Coroutine[Any, Any, None]] = []
        if plan.roles & {"writer", "relay"}:
            loops += _sending(plan, stack)
        if "consumer" in plan.roles:
            loops += _receiving(plan, stack)
        tasks = [asyncio.create_task(loop) for loop in loops]
        await stopping.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _sending(plan: Plan, stack: AsyncExitStack) -> list[Coroutine[Any, Any, None]]:
    dsn = dsn_of(plan.sender_url)
    publisher = Publisher(bootstrap_servers=plan.kafka, client_id=plan.name, topic_prefix=plan.topic_prefix)
    relay, notifier = Relay(dsn=dsn, publisher=publisher), Notifier(dsn=dsn)
    # A fault that is aimed at the leader finds its process by this.
    relay._lease.owner = f"{os.getpid()} {relay._lease.owner}"
    database = open_database(
        plan.sender_url,
        service="accounts",
        pool_size=HANDS,
        on_events_committed=lambda: relay.wake() if relay.is_leader else notifier.wake(),
    )
    stack.push_async_callback(database.close)
    stack.push_async_callback(relay.close)
    loops = [relay.run()] if "relay" in plan.roles else []
    if "writer" in plan.roles:
        loops += [notifier.run(), _write_all(database.sessions, plan)]
        if plan.workload.garbage_share:
            loops.append(_litter(plan))
    return loops


def _receiving(plan: Plan, stack: AsyncExitStack) -> list[Coroutine[Any, Any, None]]:
    database = open_database(plan.reader_url, service="reader", pool_size=2)
    consumers = ConsumerGroups(
        [ConsumerWorker(name=READER, subscription=reader(plan.workload), sessions=database.sessions)],
        bootstrap_servers=plan.kafka,
        client_id=plan.name,
        topic_prefix=plan.topic_prefix,
    )
    stack.push_async_callback(database.close)
    stack.push_async_callback(consumers.stop)
    return [consumers.run()]


async def _write_all(sessions: Sessions, plan: Plan) -> None:
    await asyncio.gather(*(_write(sessions, plan, hand=hand) for hand in range(HANDS)))
    plan.rested.touch()


async def _write(sessions: Sessions, plan: Plan, *, hand: int) -> None:
    """Carry out operations; one whose outcome is unknown is tried again until it is known, as a good client does."""
    rng = random.Random(f"{plan.seed} {hand}")  # noqa: S311 - chance by seed
    for _ in count() if plan.operations is None else range(hand, plan.operations, HANDS):
        operation = UUID(int=rng.getrandbits(128), version=4)
        accounts, cents = _accounts(rng, plan.workload), _cents(rng, plan.workload)
        abandon = rng.random() < plan.workload.abandoned_share
        while True:
            try:
                async with asyncio.timeout(GIVE_UP_SECONDS), sessions.begin() as session:
                    await operate(session, operation=operation, accounts=accounts, cents=cents)
                    if abandon:
                        raise Abandoned
            except Abandoned:
                break
            except Exception as fault:  # noqa: BLE001 - whatever it was, the operation is tried again
                logger.warning("operation_repeated", operation=str(operation), fault=repr(fault))
                await asyncio.sleep(RETRY_PAUSE_SECONDS)
            else:
                _acknowledge(plan, operation)
                break
        await asyncio.sleep(plan.workload.pause_seconds)


def _acknowledge(plan: Plan, operation: UUID) -> None:
    # One short write: whole or not at all, whoever is killed.
    with plan.acknowledged.open("ab", buffering=0) as file:
        file.write(f"{operation}\n".encode())


def _accounts(rng: random.Random, workload: Workload) -> list[UUID]:
    """One to three, some of them hot; the same ids in every process."""
    numbers = {
        rng.randrange(2) if rng.random() < workload.hot_share else rng.randrange(workload.accounts)
        for _ in range(rng.choice((1, 1, 1, 2, 3)))
    }
    return [UUID(int=number + 1, version=4) for number in numbers]


def _cents(rng: random.Random, workload: Workload) -> int:
    if rng.random() < workload.poison_share:
        return rng.choice((REFUSED_CENTS, BROKEN_CENTS))
    return STEP_CENTS * rng.randrange(1, 4)


async def _litter(plan: Plan) -> None:
    """Publish what no service would, now and then."""
    rng = random.Random(f"{plan.seed} garbage")  # noqa: S311 - chance by seed
    while True:
        with suppress(Exception):
            async with AIOKafkaProducer(bootstrap_servers=plan.kafka, acks="all") as producer:
                while True:
                    await asyncio.sleep(plan.workload.pause_seconds / plan.workload.garbage_share)
                    key = f"garbage-{rng.getrandbits(32)}".encode()
                    await producer.send_and_wait(plan.topic_prefix + TOPIC, value=rng.randbytes(20), key=key)
        await asyncio.sleep(RETRY_PAUSE_SECONDS)

"""One worker process of the workload's small services, made of the real parts: writer, relay and consumer."""

import asyncio
import os
import random
import signal
import uuid
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

from shared.connection_urls import dsn_of
from shared.database import Sessions, open_database
from shared.messaging.consumer.group import ConsumerGroups
from shared.messaging.consumer.worker import ConsumerWorker
from shared.messaging.kafka import KafkaConnection
from shared.messaging.outbox.lease import LEASE_DURATION, Lease
from shared.messaging.outbox.publisher import Publisher
from shared.messaging.outbox.relay import Relay
from shared.messaging.outbox.wake_up import Notifier
from tests.chaos.accounts import (
    CONSUMER,
    HANDLER_BUG_CENTS,
    RULE_VIOLATING_CENTS,
    STEP_CENTS,
    Workload,
    operate,
    subscription_of,
)
from tests.chaos.environment import Environment
from tests.chaos.forked_process import set_up_process
from tests.chaos.mutants import MUTANTS

CONCURRENT_OPERATIONS = 3
"""Operations that a writer runs at once: they wait for each other's accounts."""
RETRY_DELAY_SECONDS = 0.1
OPERATION_TIMEOUT_SECONDS = 20.0

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The work of a worker, and its environment."""

    name: str
    roles: frozenset[str]
    """Any of writer, relay and consumer."""
    seed: int
    environment: Environment
    workload: Workload
    operations: int | None = None
    """The number of operations that the writer carries out; None: until it is stopped."""
    failpoints: str = ""
    mutant: str | None = None
    lease_duration: timedelta = LEASE_DURATION

    @property
    def finished(self) -> Path:
        """The file that the writer creates after its last operation."""
        return self.environment.folder / f"finished-{self.seed}"


class OperationRolledBack(Exception):
    """The writer rolls an operation back after it recorded all events."""


def main(plan: Plan) -> None:
    """Run the plan until SIGTERM."""
    log = plan.environment.folder / f"{plan.name}.log"
    set_up_process(log=log, seed=plan.seed, failpoint_specification=plan.failpoints)
    if plan.mutant is not None:
        MUTANTS[plan.mutant]()
    asyncio.run(_run(plan))


async def _run(plan: Plan) -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    async with AsyncExitStack() as stack:
        loops: list[Coroutine[Any, Any, None]] = []
        if plan.roles & {"writer", "relay"}:
            loops += _producer_loops(plan, stack)
        if "consumer" in plan.roles:
            loops.append(_consumer_loop(plan, stack))
        tasks = [asyncio.create_task(loop) for loop in loops]
        await stopping.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _producer_loops(plan: Plan, stack: AsyncExitStack) -> list[Coroutine[Any, Any, None]]:
    environment = plan.environment
    dsn = dsn_of(environment.producer_url)
    publisher = Publisher(KafkaConnection(environment.kafka, environment.topic_prefix), client_id=plan.name)
    # A fault that targets the leader finds its process by the owner of the lease.
    lease = Lease(shard=0, owner=f"{os.getpid()} {uuid.uuid4()}", duration=plan.lease_duration)
    relay, notifier = Relay(dsn=dsn, publisher=publisher, lease=lease), Notifier(dsn=dsn)
    database = open_database(
        environment.producer_url,
        service="users",
        pool_size=CONCURRENT_OPERATIONS,
        on_events_committed=lambda: relay.wake() if relay.is_leader else notifier.wake(),
    )
    stack.push_async_callback(database.close)
    stack.push_async_callback(relay.close)
    loops = [relay.run()] if "relay" in plan.roles else []
    if "writer" in plan.roles:
        loops += [notifier.run(), _write_all(database.sessions, plan)]
        if plan.workload.garbage_share:
            loops.append(_publish_garbage(plan))
    return loops


def _consumer_loop(plan: Plan, stack: AsyncExitStack) -> Coroutine[Any, Any, None]:
    environment = plan.environment
    database = open_database(environment.consumer_url, service="consumer", pool_size=2)
    consumers = ConsumerGroups(
        [ConsumerWorker(name=CONSUMER, subscription=subscription_of(plan.workload), sessions=database.sessions)],
        kafka=KafkaConnection(environment.kafka, environment.topic_prefix),
        client_id=plan.name,
    )
    stack.push_async_callback(database.close)
    stack.push_async_callback(consumers.stop)
    return consumers.run()


async def _write_all(sessions: Sessions, plan: Plan) -> None:
    await asyncio.gather(*(_write(sessions, plan, first=first) for first in range(CONCURRENT_OPERATIONS)))
    plan.finished.touch()


async def _write(sessions: Sessions, plan: Plan, *, first: int) -> None:
    """Carry out operations one by one. Repeat one whose outcome is unknown, as a client should."""
    rng = random.Random(f"{plan.seed} {first}")  # noqa: S311 - reproducible by its seed
    for _ in count() if plan.operations is None else range(first, plan.operations, CONCURRENT_OPERATIONS):
        operation = UUID(int=rng.getrandbits(128), version=4)
        accounts, cents = _accounts(rng, plan.workload), _cents(rng, plan.workload)
        is_rolled_back = rng.random() < plan.workload.rollback_share
        while True:
            try:
                async with asyncio.timeout(OPERATION_TIMEOUT_SECONDS), sessions.begin() as session:
                    await operate(session, operation=operation, accounts=accounts, cents=cents)
                    if is_rolled_back:
                        raise OperationRolledBack
            except OperationRolledBack:
                break
            except Exception as error:  # noqa: BLE001 - the operation is repeated after any error
                logger.warning("operation_repeated", operation=str(operation), error=repr(error))
                await asyncio.sleep(RETRY_DELAY_SECONDS)
            else:
                _acknowledge(plan, operation)
                break
        await asyncio.sleep(plan.workload.interval_seconds)


def _acknowledge(plan: Plan, operation: UUID) -> None:
    # One short unbuffered write is atomic, even when the process is killed.
    with plan.environment.acknowledged.open("ab", buffering=0) as file:
        file.write(f"{operation}\n".encode())


def _accounts(rng: random.Random, workload: Workload) -> list[UUID]:
    """Choose one to three accounts, some of them hot; their ids are the same in every process."""
    numbers = {
        rng.randrange(2) if rng.random() < workload.hot_share else rng.randrange(workload.accounts)
        for _ in range(rng.choice((1, 1, 1, 2, 3)))
    }
    return [UUID(int=number + 1, version=4) for number in numbers]


def _cents(rng: random.Random, workload: Workload) -> int:
    if rng.random() < workload.poison_share:
        return rng.choice((RULE_VIOLATING_CENTS, HANDLER_BUG_CENTS))
    return STEP_CENTS * rng.randrange(1, 4)


async def _publish_garbage(plan: Plan) -> None:
    """Publish records that are no events, at the workload's rate."""
    environment, workload = plan.environment, plan.workload
    rng = random.Random(f"{plan.seed} garbage")  # noqa: S311 - reproducible by its seed
    while True:
        with suppress(Exception):
            async with AIOKafkaProducer(bootstrap_servers=environment.kafka, acks="all") as producer:
                while True:
                    await asyncio.sleep(workload.interval_seconds / workload.garbage_share)
                    key = f"garbage-{rng.getrandbits(32)}".encode()
                    await producer.send_and_wait(environment.topic, value=rng.randbytes(20), key=key)
        await asyncio.sleep(RETRY_DELAY_SECONDS)

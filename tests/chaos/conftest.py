"""Fixtures: an environment for each test on the run's servers, and workers in it."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from shared.messaging.kafka import KafkaConnection
from shared.messaging.topics import create_topics
from tests.chaos.accounts import WORKLOADS
from tests.chaos.environment import Environment
from tests.chaos.worker import Plan
from tests.chaos.worker_pool import Worker
from tests.harness.databases import DatabaseFactory, as_owner


@pytest.fixture
async def environment(
    database_factory: DatabaseFactory, kafka_bootstrap_servers: str, topic_prefix: str, tmp_path: Path
) -> Environment:
    await create_topics(KafkaConnection(kafka_bootstrap_servers, topic_prefix))
    # One database for producer and consumer: which service's tables stand beside the messaging tables does not matter.
    database_url = as_owner(await database_factory("users"))
    environment = Environment(
        producer_url=database_url,
        consumer_url=database_url,
        kafka=kafka_bootstrap_servers,
        topic_prefix=topic_prefix,
        folder=tmp_path,
    )
    await environment.create_tables()
    return environment


@pytest.fixture
async def start(environment: Environment) -> AsyncIterator[Callable[..., Worker]]:
    """`start("relay", "consumer", seed=1, ...)`: a new worker, stopped after the test."""
    workers: list[Worker] = []

    def start_worker(
        *roles: str,
        seed: int,
        operations: int | None = 0,
        failpoints: str = "",
        mutant: str | None = None,
        workload: str = "hot-keys",
        kafka: str = environment.kafka,
        lease_duration: timedelta = timedelta(seconds=1),
    ) -> Worker:
        worker = Worker(
            Plan(
                name="-".join(roles),
                roles=frozenset(roles),
                seed=seed,
                environment=replace(environment, kafka=kafka),
                workload=WORKLOADS[workload],
                operations=operations,
                failpoints=failpoints,
                mutant=mutant,
                lease_duration=lease_duration,
            )
        )
        workers.append(worker)
        return worker

    yield start_worker
    for worker in workers:
        await worker.stop()

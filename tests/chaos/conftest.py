"""A scene of a test's own: a database, topics and a folder on the run's servers."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from shared.messaging.topics import create_topics
from tests.chaos.accounts import WORKLOADS
from tests.chaos.evidence import Scene
from tests.chaos.nursery import Worker
from tests.chaos.worker import Plan
from tests.harness.databases import DatabaseFactory


@pytest.fixture
async def scene(
    database_factory: DatabaseFactory, kafka_bootstrap_servers: str, topic_prefix: str, tmp_path: Path
) -> Scene:
    await create_topics(kafka_bootstrap_servers, prefix=topic_prefix)
    # Of both sides: which service's tables stand beside the messaging's does not matter here.
    database_url = await database_factory("users")
    scene = Scene(
        sender_url=database_url,
        reader_url=database_url,
        kafka=kafka_bootstrap_servers,
        topic_prefix=topic_prefix,
        folder=tmp_path,
    )
    await scene.prepare()
    return scene


@pytest.fixture
async def start(scene: Scene) -> AsyncIterator[Callable[..., Worker]]:
    """`start("relay", "consumer", seed=1, operations=0, ...)`: a worker of the scene, stopped after the test."""
    workers: list[Worker] = []

    def start_(
        *roles: str,
        seed: int,
        operations: int | None = 0,
        failpoints: str = "",
        mutant: str | None = None,
        kafka: str = scene.kafka,
    ) -> Worker:
        worker = Worker(
            Plan(
                name="-".join(roles),
                roles=frozenset(roles),
                seed=seed,
                sender_url=scene.sender_url,
                reader_url=scene.reader_url,
                kafka=kafka,
                topic_prefix=scene.topic_prefix,
                folder=scene.folder,
                workload=WORKLOADS["hot-keys"],
                operations=operations,
                failpoints=failpoints,
                mutant=mutant,
                lease_seconds=1.0,
            )
        )
        workers.append(worker)
        return worker

    yield start_
    for worker in workers:
        await worker.stop()

"""The composition of every service: open its parts, run relay, consumers and jobs, and close everything in order."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog
from fastapi import APIRouter, FastAPI

from shared.asyncapi import asyncapi_document
from shared.cache import Cache, open_cache
from shared.connection_urls import dsn_of
from shared.database import Database, Sessions, open_database
from shared.database_measurements import OLDEST
from shared.health import Check, Health
from shared.http.application import create_application
from shared.http.documentation import asyncapi_router
from shared.http.health import health_router
from shared.http.tokens import TokenVerifier
from shared.jobs import JobRunner, Jobs
from shared.loop_tasks import start, wait_for
from shared.loops import Loop, OpenLoop, connect_loops
from shared.maintenance import with_maintenance
from shared.measurements import Measurement, Measurements
from shared.messaging.consumer.group import ConsumerGroups
from shared.messaging.consumer.subscription import Subscription, by_consumer
from shared.messaging.consumer.worker import ConsumerWorker
from shared.messaging.kafka import KafkaConnection, kafka_of
from shared.messaging.measurements import messaging_measurements
from shared.messaging.outbox.publisher import Publisher
from shared.messaging.outbox.relay import Relay
from shared.messaging.outbox.republish import Republishable
from shared.messaging.outbox.wake_up import Notifier
from shared.operations.dependencies import NO_RECORDS, Operations, ServiceRecords, operations_of
from shared.operations.routes import operations_router
from shared.operations.sending import Sending, with_operations
from shared.service_health import Watched, health_of
from shared.settings import Role, ServiceSettings
from shared.shutdown import Shutdown
from shared.watchdog import EventLoopMonitor

logger = structlog.get_logger(__name__)


@dataclass(frozen=True)
class _Parts:
    """The parts of a service, and which of them run in this process."""

    roles: frozenset[Role]
    database: Database
    cache: Cache
    relay: Relay
    notifier: Notifier
    consumer_groups: ConsumerGroups
    jobs: JobRunner
    loops: Sequence[Loop]
    operations: Operations
    measurements: Measurements
    event_loop: EventLoopMonitor

    def state(self) -> dict[str, object]:
        """Return what the routes' dependencies find in `app.state`."""
        return {"sessions": self.database.sessions, "cache": self.cache, "operations": self.operations}

    def watched(self) -> Watched:
        """Return what the health of this process depends on."""
        has_jobs = Role.JOBS in self.roles
        return Watched(
            database=self.database,
            cache=self.cache,
            relay=self.relay,
            consumer_groups=self.consumer_groups,
            jobs=self.jobs.health if has_jobs else None,
            loops=[
                self.event_loop.heartbeat,
                self.notifier.heartbeat,
                self.measurements.heartbeat,
                *([self.relay.heartbeat] if Role.RELAY in self.roles else []),
                *(self.jobs.health.heartbeats if has_jobs else []),
                *(loop.heartbeat for loop in self.loops),
            ],
        )


def create_service(
    *,
    name: str,
    description: str,
    settings: ServiceSettings,
    routers: Sequence[APIRouter],
    subscriptions: Sequence[Subscription],
    jobs: Jobs,
    token_verifier: TokenVerifier,
    republished: Sequence[Republishable] = (),
    loops: Sequence[OpenLoop] = (),
    measurements: Sequence[Measurement] = (),
    records: ServiceRecords = NO_RECORDS,
    state: Mapping[str, object] | None = None,
    checks: Mapping[str, Check] | None = None,
    closing: Sequence[Callable[[], Awaitable[None]]] = (),
) -> FastAPI:
    """Compose a service that runs in the roles of its settings.

    `loops` run in processes with the role jobs. `measurements` of the service's own tables become metrics. `records`
    read what its tables know of orders and of operators' actions. `state` is added to `app.state`. If one of `checks`
    fails, the service is degraded but stays ready. `closing` is called after the loops, which may use what it closes.
    """
    parts = _open_parts(
        name=name,
        settings=settings,
        subscriptions=subscriptions,
        jobs=jobs,
        republished=republished,
        loops=loops,
        measurements=measurements,
        records=records,
    )
    health = health_of(name, parts.watched(), {"revocations": token_verifier.check, **(checks or {})})
    describe_events = _describing_events(name, description=description, settings=settings, subscriptions=subscriptions)
    api = [*routers, operations_router(name, republishes=bool(republished))] if Role.API in parts.roles else []
    return create_application(
        name=name,
        description=description,
        settings=settings,
        routers=[*api, health_router(health), asyncapi_router(describe_events)],
        lifespan=_lifespan_of(parts, health, [token_verifier.close, *closing]),
        state={**parts.state(), "health": health, "token_verifier": token_verifier, **(state or {})},
    )


def _describing_events(
    name: str, *, description: str, settings: ServiceSettings, subscriptions: Sequence[Subscription]
) -> Callable[[], dict[str, Any]]:
    """Return a function that makes the AsyncAPI document."""
    return partial(
        asyncapi_document,
        service=name,
        description=description,
        subscriptions=subscriptions,
        bootstrap_servers=settings.kafka_bootstrap_servers,
        topic_prefix=settings.kafka_topic_prefix,
    )


def _lifespan_of(
    parts: _Parts, health: Health, closing: Sequence[Callable[[], Awaitable[None]]]
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with _running(parts, health.shutdown):
            logger.info("service_started", roles=sorted(parts.roles))
            yield
        for close in closing:
            await close()
        health.shutdown.end()
        logger.info("service_stopped")

    return lifespan


def _open_parts(
    *,
    name: str,
    settings: ServiceSettings,
    subscriptions: Sequence[Subscription],
    jobs: Jobs,
    republished: Sequence[Republishable],
    loops: Sequence[OpenLoop] = (),
    measurements: Sequence[Measurement] = (),
    records: ServiceRecords = NO_RECORDS,
) -> _Parts:
    dsn, kafka = dsn_of(settings.database_url), kafka_of(settings)
    publisher = Publisher(kafka, client_id=_client_id(name), idempotent=settings.kafka_idempotent_producer)
    relay = Relay(dsn=dsn, publisher=publisher, linger_seconds=settings.relay_linger_ms / 1000)
    notifier = Notifier(dsn=dsn)
    database = open_database(
        settings.database_url,
        service=name,
        pool_size=settings.database_pool_size,
        on_events_committed=lambda: relay.wake() if relay.is_leader else notifier.wake(),
    )
    subscription_by_consumer = by_consumer(name, subscriptions)
    sending = Sending(republished)
    all_jobs = with_operations(with_maintenance(jobs, subscriptions=subscription_by_consumer), sending)
    job_runner = JobRunner(all_jobs, dsn=dsn, sessions=database.sessions)
    measured = [OLDEST, *messaging_measurements(), job_runner.health.measurement, *measurements]
    consumer_groups = _open_consumers(settings, subscription_by_consumer, database.sessions, kafka=kafka, name=name)
    return _Parts(
        roles=settings.roles,
        database=database,
        cache=open_cache(settings.valkey_url, prefix=name),
        relay=relay,
        notifier=notifier,
        consumer_groups=consumer_groups,
        jobs=job_runner,
        loops=_open_loops(loops if Role.JOBS in settings.roles else (), database.sessions, dsn=dsn, notifier=notifier),
        operations=operations_of(
            name,
            database.sessions,
            subscription_by_consumer,
            sending=sending,
            records=records,
            check_kafka=relay.check,
            problem_of=consumer_groups.problem_of,
        ),
        measurements=Measurements(measured, sessions=database.sessions),
        event_loop=EventLoopMonitor(),
    )


def _open_consumers(
    settings: ServiceSettings,
    subscriptions: Mapping[str, Subscription],
    sessions: Sessions,
    *,
    kafka: KafkaConnection,
    name: str,
) -> ConsumerGroups:
    return ConsumerGroups(
        [
            ConsumerWorker(name=consumer, subscription=subscription, sessions=sessions)
            for consumer, subscription in (subscriptions.items() if Role.CONSUMER in settings.roles else ())
        ],
        kafka=kafka,
        client_id=_client_id(name),
    )


def _client_id(name: str) -> str:
    """Return the name by which Kafka's logs and quotas know a service."""
    return f"orderly-{name}"


def _open_loops(loops: Sequence[OpenLoop], sessions: Sessions, *, dsn: str, notifier: Notifier) -> list[Loop]:
    """Open a service's loops. A commit wakes the loop of this process, or by NOTIFY those of the others."""
    opened = [open_loop(dsn=dsn, sessions=sessions) for open_loop in loops]
    connect_loops(sessions, opened, notify=notifier.wake)
    return opened


@asynccontextmanager
async def _running(parts: _Parts, shutdown: Shutdown) -> AsyncIterator[None]:
    """Run the loops. On exit, stop the others before the relay, which publishes their last events.

    Consumers and jobs begin nothing new from the same moment, so that a process needs no longer than the slower one.
    """
    event_loop = asyncio.create_task(parts.event_loop.run())
    notifier = start(parts.notifier.heartbeat, parts.notifier.run)
    measuring = start(parts.measurements.heartbeat, parts.measurements.run)
    relay = start(parts.relay.heartbeat, parts.relay.run) if Role.RELAY in parts.roles else None
    consumers = (
        start(parts.consumer_groups.heartbeat, parts.consumer_groups.run) if Role.CONSUMER in parts.roles else None
    )
    jobs = start(parts.jobs.health.queue, parts.jobs.run) if Role.JOBS in parts.roles else None
    own = [start(loop.heartbeat, loop.run) for loop in parts.loops]
    try:
        yield
    finally:
        shutdown.enter("consumers")
        if consumers is not None:
            consumers.cancel()
        parts.jobs.stop()
        for loop in parts.loops:
            loop.stop()
        stopping = [asyncio.create_task(wait_for(task)) for task in (jobs, *own)]
        await parts.consumer_groups.stop()
        shutdown.enter("jobs")
        await asyncio.gather(*stopping)
        shutdown.enter("relay")
        parts.relay.stop()
        parts.notifier.stop()
        parts.measurements.stop()
        await asyncio.gather(*(wait_for(task) for task in (relay, notifier, measuring)))
        await parts.relay.close()
        shutdown.enter("pool")
        await parts.cache.close()
        await parts.database.close()
        event_loop.cancel()
        await asyncio.wait({event_loop})

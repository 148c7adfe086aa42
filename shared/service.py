"""The composition of every service: open its parts, run relay, consumers and jobs, and close everything in order."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import sqlalchemy as sa
import structlog
from fastapi import APIRouter, FastAPI

from shared.asyncapi import asyncapi_document
from shared.cache import Cache, open_cache
from shared.connection_urls import dsn_of
from shared.database import Database, Sessions, open_database
from shared.health import Check, Health, Unhealthy
from shared.http.application import create_application
from shared.http.documentation import asyncapi_router
from shared.http.health import health_router
from shared.http.tokens import TokenVerifier
from shared.jobs import JobRunner, Jobs
from shared.loops import Loop, OpenLoop, connect_loops
from shared.maintenance import with_maintenance
from shared.messaging.consumer.group import ConsumerGroups
from shared.messaging.consumer.subscription import Subscription, by_consumer
from shared.messaging.consumer.worker import ConsumerWorker
from shared.messaging.kafka import kafka_of
from shared.messaging.outbox.publisher import Publisher
from shared.messaging.outbox.relay import Relay
from shared.messaging.outbox.republish import Republishable
from shared.messaging.outbox.wake_up import Notifier
from shared.operations.dead_letters import DeadLetterOperations
from shared.operations.dependencies import Operations
from shared.operations.positions import PositionOperations
from shared.operations.routes import operations_router
from shared.operations.sending import Sending, with_operations
from shared.settings import Role, ServiceSettings

logger = structlog.get_logger(__name__)

MAX_OUTBOX_AGE = timedelta(seconds=60)
"""The service is degraded while an event waits in the outbox for longer than this."""
MAX_HEARTBEAT_AGE_SECONDS = 60.0
"""A relay or a service's loop without a heartbeat for longer than this is stuck, and the process is not live."""
RESTART_DELAY_SECONDS = 1.0
"""Delay before a loop that has failed is started again."""
STOP_TIMEOUT_SECONDS = 10.0
"""Time for a loop to stop before it is cancelled."""


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

    def state(self) -> dict[str, object]:
        """Return what the routes' dependencies find in `app.state`."""
        return {"sessions": self.database.sessions, "cache": self.cache, "operations": self.operations}


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
    state: Mapping[str, object] | None = None,
    checks: Mapping[str, Check] | None = None,
    closing: Sequence[Callable[[], Awaitable[None]]] = (),
) -> FastAPI:
    """Compose a service that runs in the roles of its settings.

    `loops` run in processes with the role jobs. `state` is added to `app.state`. `checks` are added to the health page:
    if one fails, the service is degraded but stays ready. `closing` is called after the loops have ended, since they
    may use what it closes.
    """
    parts = _open_parts(
        name=name, settings=settings, subscriptions=subscriptions, jobs=jobs, republished=republished, loops=loops
    )
    health = _health_of(name, parts, checks or {})
    describe_events = partial(
        asyncapi_document,
        service=name,
        description=description,
        subscriptions=subscriptions,
        bootstrap_servers=settings.kafka_bootstrap_servers,
        topic_prefix=settings.kafka_topic_prefix,
    )
    api = [*routers, operations_router(name, republishes=bool(republished))] if Role.API in parts.roles else []
    return create_application(
        name=name,
        description=description,
        settings=settings,
        routers=[*api, health_router(health), asyncapi_router(describe_events)],
        lifespan=_lifespan_of(parts, health, closing),
        state={**parts.state(), "token_verifier": token_verifier, **(state or {})},
    )


def _lifespan_of(
    parts: _Parts, health: Health, closing: Sequence[Callable[[], Awaitable[None]]]
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with _running(parts):
            logger.info("service_started", roles=sorted(parts.roles))
            yield
            health.begin_shutdown()
        for close in closing:
            await close()
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
) -> _Parts:
    dsn = dsn_of(settings.database_url)
    client_id = f"orderly-{name}"
    kafka = kafka_of(settings)
    publisher = Publisher(kafka, client_id=client_id, idempotent=settings.kafka_idempotent_producer)
    relay = Relay(dsn=dsn, publisher=publisher, linger_seconds=settings.relay_linger_ms / 1000)
    notifier = Notifier(dsn=dsn)
    database = open_database(
        settings.database_url,
        service=name,
        pool_size=settings.database_pool_size,
        on_events_committed=lambda: relay.wake() if relay.is_leader else notifier.wake(),
    )
    subscription_by_consumer = by_consumer(name, subscriptions)
    consumer_groups = ConsumerGroups(
        [
            ConsumerWorker(name=consumer, subscription=subscription, sessions=database.sessions)
            for consumer, subscription in (subscription_by_consumer.items() if Role.CONSUMER in settings.roles else ())
        ],
        kafka=kafka,
        client_id=client_id,
    )
    sending = Sending(republished)
    all_jobs = with_operations(with_maintenance(jobs, subscriptions=subscription_by_consumer), sending)
    return _Parts(
        roles=settings.roles,
        database=database,
        cache=open_cache(settings.valkey_url, prefix=name),
        relay=relay,
        notifier=notifier,
        consumer_groups=consumer_groups,
        jobs=JobRunner(all_jobs, dsn=dsn, sessions=database.sessions),
        loops=_open_loops(loops if Role.JOBS in settings.roles else (), database.sessions, dsn=dsn, notifier=notifier),
        operations=Operations(
            dead_letters=DeadLetterOperations(database.sessions, subscription_by_consumer),
            positions=PositionOperations(database.sessions, subscription_by_consumer),
            sending=sending,
        ),
    )


def _open_loops(loops: Sequence[OpenLoop], sessions: Sessions, *, dsn: str, notifier: Notifier) -> list[Loop]:
    """Open a service's loops. A commit wakes the loop of this process, or by NOTIFY those of the others."""
    opened = [open_loop(dsn=dsn, sessions=sessions) for open_loop in loops]
    connect_loops(sessions, opened, notify=notifier.wake)
    return opened


def _health_of(name: str, parts: _Parts, checks: Mapping[str, Check]) -> Health:
    return Health(
        service=name,
        checks={
            "database": parts.database.ping,
            "cache": parts.cache.ping,
            "kafka": parts.relay.check,
            "outbox": lambda: _check_outbox(parts.database.sessions),
            "consumers": parts.consumer_groups.check,
            **checks,
        },
        # Without the database no request can be served. Without the others requests are served, and events wait.
        critical=frozenset({"database"}),
        liveness_check=lambda: _check_loops(parts),
    )


@asynccontextmanager
async def _running(parts: _Parts) -> AsyncIterator[None]:
    """Run the loops. On exit, stop the others before the relay, which publishes their last events."""
    notifier = asyncio.create_task(_keep_running("notifier", parts.notifier.run))
    loops = {
        Role.RELAY: ("relay", parts.relay.run),
        Role.CONSUMER: ("consumers", parts.consumer_groups.run),
        Role.JOBS: ("jobs", parts.jobs.run),
    }
    tasks = {role: asyncio.create_task(_keep_running(*loop)) for role, loop in loops.items() if role in parts.roles}
    own = [asyncio.create_task(_keep_running(loop.name, loop.run)) for loop in parts.loops]
    try:
        yield
    finally:
        if Role.CONSUMER in tasks:
            tasks[Role.CONSUMER].cancel()
        parts.jobs.stop()
        for loop in parts.loops:
            loop.stop()
        await asyncio.gather(
            parts.consumer_groups.stop(), _wait_for(tasks.get(Role.JOBS)), *(_wait_for(task) for task in own)
        )
        parts.relay.stop()
        parts.notifier.stop()
        await asyncio.gather(_wait_for(tasks.get(Role.RELAY)), _wait_for(notifier))
        await parts.relay.close()
        await parts.cache.close()
        await parts.database.close()


async def _keep_running(
    loop: str, run: Callable[[], Awaitable[None]], *, restart_delay_seconds: float = RESTART_DELAY_SECONDS
) -> None:
    """Run a loop until it returns; start it again after an error."""
    while True:
        try:
            await run()
        except Exception:
            logger.exception("loop_failed", loop=loop)
            await asyncio.sleep(restart_delay_seconds)
        else:
            return


async def _wait_for(task: asyncio.Task[None] | None, *, timeout_seconds: float = STOP_TIMEOUT_SECONDS) -> None:
    """Wait until a loop has ended; cancel it after the time-out."""
    if task is None:
        return
    _, pending = await asyncio.wait({task}, timeout=timeout_seconds)
    for late in pending:
        logger.warning("loop_cancelled")
        late.cancel()


async def _check_outbox(sessions: Sessions) -> None:
    async with sessions() as session:
        oldest = await session.scalar(
            sa.text("SELECT clock_timestamp() - occurred_at FROM outbox ORDER BY shard, id LIMIT 1")
        )
    if oldest is not None and oldest > MAX_OUTBOX_AGE:
        raise Unhealthy("events wait to be sent")


async def _check_loops(parts: _Parts) -> None:
    stuck = parts.consumer_groups.stuck()
    if Role.RELAY in parts.roles and parts.relay.idle_seconds > MAX_HEARTBEAT_AGE_SECONDS:
        stuck.append("relay")
    stuck.extend(loop.name for loop in parts.loops if loop.idle_seconds > MAX_HEARTBEAT_AGE_SECONDS)
    if stuck:
        raise Unhealthy(", ".join(stuck))

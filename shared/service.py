"""What every service does alike: open its parts, run relay, consumers and jobs beside HTTP, close in order."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa
import structlog
from fastapi import APIRouter, FastAPI

from shared.cache import Cache, open_cache
from shared.database import Database, Sessions, open_database
from shared.health import Check, Health, Unhealthy, health_router
from shared.http.application import create_application
from shared.http.idempotency import forget_old_keys
from shared.http.tokens import TokenVerifier
from shared.jobs import JobRunner, Jobs
from shared.messaging.consumer import Consumer
from shared.messaging.consumers import Consumers
from shared.messaging.partitions import keep_partitions
from shared.messaging.publisher import Publisher
from shared.messaging.relay import Relay
from shared.messaging.subscription import Subscription
from shared.migrations.runner import dsn_of
from shared.settings import ServiceSettings

logger = structlog.get_logger(__name__)

OLDEST_OUTBOX_ROW = timedelta(seconds=60)
"""Older than this, an event that was not sent is worth a degraded health."""
IDEMPOTENCY_KEYS_KEPT = timedelta(hours=24)
IDEMPOTENCY_KEYS_BATCH = 10_000
LONGEST_RELAY_TURN_SECONDS = 60.0
RESTART_PAUSE_SECONDS = 1.0


@dataclass(frozen=True)
class Parts:
    """The running parts of one service; `app.state.parts` for whoever composes routes."""

    database: Database
    cache: Cache
    relay: Relay
    consumers: Consumers
    jobs: JobRunner


def create_service(
    *,
    name: str,
    description: str,
    settings: ServiceSettings,
    routers: Sequence[APIRouter],
    subscriptions: Sequence[Subscription],
    jobs: Jobs,
    token_verifier: TokenVerifier,
    state: Mapping[str, object] | None = None,
    checks: Mapping[str, Check] | None = None,
    closing: Sequence[Callable[[], Awaitable[None]]] = (),
) -> FastAPI:
    """Compose a service. `state` goes to `app.state` beside `sessions`, `cache` and `token_verifier`.

    `checks` adds to the health page; a failing one of them degrades the service without making it unready.
    `closing` is called once the loops, which may use what it closes, have ended.
    """
    parts = _open_parts(name=name, settings=settings, subscriptions=subscriptions, jobs=_with_upkeep(jobs))
    health = Health(
        service=name,
        checks={
            "database": parts.database.ping,
            "cache": parts.cache.ping,
            "kafka": parts.relay.check,
            "outbox": lambda: _check_outbox(parts.database.sessions),
            "consumers": parts.consumers.check,
            **(checks or {}),
        },
        # Without the database nothing works; without the others requests are still served, and events wait.
        critical=frozenset({"database"}),
        liveness=lambda: _check_loops(parts),
    )

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with _running(parts):
            logger.info("service_started")
            yield
            health.begin_shutdown()
        for close in closing:
            await close()
        logger.info("service_stopped")

    return create_application(
        name=name,
        description=description,
        settings=settings,
        routers=[*routers, health_router(health)],
        lifespan=lifespan,
        state={
            "sessions": parts.database.sessions,
            "cache": parts.cache,
            "token_verifier": token_verifier,
            **(state or {}),
        },
    )


def _open_parts(*, name: str, settings: ServiceSettings, subscriptions: Sequence[Subscription], jobs: Jobs) -> Parts:
    dsn = dsn_of(settings.database_url)
    client_id = f"orderly-{name}"
    relay = Relay(
        dsn=dsn,
        publisher=Publisher(
            bootstrap_servers=settings.kafka_bootstrap_servers,
            client_id=client_id,
            topic_prefix=settings.kafka_topic_prefix,
        ),
    )
    database = open_database(
        settings.database_url,
        service=name,
        pool_size=settings.database_pool_size,
        on_events_committed=relay.wake,
    )
    consumers = Consumers(
        [
            Consumer(name=f"{name}.{subscription.topic}", subscription=subscription, sessions=database.sessions)
            for subscription in subscriptions
        ],
        bootstrap_servers=settings.kafka_bootstrap_servers,
        client_id=client_id,
        topic_prefix=settings.kafka_topic_prefix,
    )
    return Parts(
        database=database,
        cache=open_cache(settings.valkey_url, prefix=name),
        relay=relay,
        consumers=consumers,
        jobs=JobRunner(jobs, dsn=dsn, sessions=database.sessions),
    )


def _with_upkeep(jobs: Jobs) -> Jobs:
    """Add the timed work that every service's tables need."""

    @jobs.every("13 * * * *")
    async def upkeep_of_partitions(sessions: Sessions) -> None:
        async with sessions.begin() as session:
            await keep_partitions(session)

    @jobs.every("*/10 * * * *")
    async def upkeep_of_idempotency_keys(sessions: Sessions) -> None:
        deleted = IDEMPOTENCY_KEYS_BATCH
        while deleted == IDEMPOTENCY_KEYS_BATCH:
            async with sessions.begin() as session:
                deleted = await forget_old_keys(session, older_than=IDEMPOTENCY_KEYS_KEPT, limit=IDEMPOTENCY_KEYS_BATCH)

    return jobs


@asynccontextmanager
async def _running(parts: Parts) -> AsyncIterator[None]:
    """Run the loops; on the way out first stop taking work in, then send what that left in the outbox."""
    relay = asyncio.create_task(_kept_running("relay", parts.relay.run))
    consumers = asyncio.create_task(_kept_running("consumers", parts.consumers.run))
    jobs = asyncio.create_task(_kept_running("jobs", parts.jobs.run))
    try:
        yield
    finally:
        consumers.cancel()
        parts.jobs.stop()
        await asyncio.gather(parts.consumers.stop(), _ended(jobs, within_seconds=10))
        parts.relay.stop()
        await _ended(relay, within_seconds=10)
        await parts.cache.close()
        await parts.database.close()


async def _kept_running(loop: str, run: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await run()
        except Exception:
            logger.exception("loop_failed", loop=loop)
            await asyncio.sleep(RESTART_PAUSE_SECONDS)
        else:
            return


async def _ended(task: asyncio.Task[None], *, within_seconds: float) -> None:
    _, pending = await asyncio.wait({task}, timeout=within_seconds)
    for late in pending:
        logger.warning("loop_cancelled")
        late.cancel()


async def _check_outbox(sessions: Sessions) -> None:
    async with sessions() as session:
        oldest = await session.scalar(
            sa.text("SELECT clock_timestamp() - occurred_at FROM outbox ORDER BY shard, id LIMIT 1")
        )
    if oldest is not None and oldest > OLDEST_OUTBOX_ROW:
        raise Unhealthy("events wait to be sent")


async def _check_loops(parts: Parts) -> None:
    stalled = parts.consumers.stalled()
    if parts.relay.idle_seconds > LONGEST_RELAY_TURN_SECONDS:
        stalled.append("relay")
    if stalled:
        raise Unhealthy(", ".join(stalled))

"""Work of the job queue: trying deliveries, and finding those whose job was lost."""

from collections.abc import Awaitable, Callable
from uuid import UUID

import structlog
from pgqueuer.errors import RetryRequested
from prometheus_client import Counter
from structlog.contextvars import bound_contextvars

from services.notifications.channels import Channels, Outgoing, Receipt, Send, Undelivered
from services.notifications.deliveries import (
    INITIAL_RETRY_DELAY,
    MAX_RETRY_DELAY,
    GivenUp,
    NotYet,
    begin_attempt,
    complete_attempt,
    fail_attempt,
    job_name,
    requeue_lost,
)
from services.notifications.models import Channel
from shared.database import Sessions
from shared.jobs import Jobs
from shared.messaging.failpoints import failpoint

logger = structlog.get_logger(__name__)

ATTEMPTS = Counter("notifications_attempts_total", "Tries of deliveries by their outcome", ["channel", "outcome"])

EXTRA_ATTEMPTS = 10
"""Tries of a job that our own database may spoil, beyond those of the delivery."""


def delivery_jobs(channels: Channels, *, max_attempts: int) -> Jobs:
    """One job per channel, and the search for lost deliveries."""
    jobs = Jobs()
    for channel, send in channels.items():
        jobs.task(
            job_name(channel),
            attempts=max_attempts + EXTRA_ATTEMPTS,
            initial_delay=INITIAL_RETRY_DELAY,
            max_delay=MAX_RETRY_DELAY,
        )(_delivery_task(channel, send, max_attempts=max_attempts))

    @jobs.every("* * * * *")
    async def requeue_lost_deliveries(sessions: Sessions) -> None:
        async with sessions.begin() as session:
            lost = await requeue_lost(session)
        if lost:
            logger.warning("deliveries_requeued", count=len(lost), delivery_ids=[str(each) for each in lost])

    return jobs


def _delivery_task(channel: Channel, send: Send, *, max_attempts: int) -> Callable[[Sessions, bytes], Awaitable[None]]:
    async def task(sessions: Sessions, payload: bytes) -> None:
        await deliver(sessions, UUID(bytes=payload), channel=channel, send=send, max_attempts=max_attempts)

    return task


async def deliver(sessions: Sessions, delivery_id: UUID, *, channel: Channel, send: Send, max_attempts: int) -> None:
    """Make one try, the sending itself outside of any transaction.

    A crash between the sending and its note means another sending, with the same id for the provider to know it by.
    Raises: RetryRequested when there is to be another try.
    """
    with bound_contextvars(delivery_id=str(delivery_id), channel=channel):
        async with sessions.begin() as session:
            begun = await begin_attempt(session, delivery_id=delivery_id, max_attempts=max_attempts)
        if isinstance(begun, Outgoing):
            failpoint("job.taken")
            ended = await _attempt(sessions, begun, channel=channel, send=send, max_attempts=max_attempts)
        else:
            ended = begun
        if isinstance(ended, GivenUp):
            ATTEMPTS.labels(channel, "failed").inc()
            logger.error("delivery_failed", reason=ended.code)
        if isinstance(ended, NotYet):
            raise RetryRequested(delay=ended.delay, reason=ended.code)


async def _attempt(
    sessions: Sessions, outgoing: Outgoing, *, channel: Channel, send: Send, max_attempts: int
) -> NotYet | GivenUp | None:
    outcome = await _outcome_of(send, outgoing)
    if isinstance(outcome, Receipt):
        failpoint("job.sent")
        async with sessions.begin() as session:
            is_news = await complete_attempt(session, outgoing, receipt=outcome)
        failpoint("job.marked")
        if is_news:
            ATTEMPTS.labels(channel, "sent").inc()
            logger.info("delivery_sent", attempt=outgoing.attempt)
        return None
    async with sessions.begin() as session:
        ended = await fail_attempt(session, outgoing, error=outcome, max_attempts=max_attempts)
    if isinstance(ended, NotYet):
        ATTEMPTS.labels(channel, "retried").inc()
        logger.warning("delivery_postponed", attempt=outgoing.attempt, reason=outcome.code)
    return ended


async def _outcome_of(send: Send, outgoing: Outgoing) -> Receipt | Undelivered:
    try:
        return await send(outgoing)
    except Undelivered as undelivered:
        return undelivered
    except Exception:
        # A fault of ours, such as a template that lacks a value: it counts as a try, so that it comes to an end.
        logger.exception("delivery_attempt_crashed")
        return Undelivered("internal_error")

"""Jobs of the notifications service: attempting deliveries, and requeueing those whose job was lost."""

from collections.abc import Awaitable, Callable
from uuid import UUID

import structlog
from pgqueuer.errors import RetryRequested
from prometheus_client import Counter
from structlog.contextvars import bound_contextvars

from services.notifications.channels import Attempt, Channels, Receipt, Send, SendFailed
from services.notifications.deliveries import (
    INITIAL_RETRY_DELAY,
    MAX_RETRY_DELAY,
    DeliveryFailed,
    RetryLater,
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

ATTEMPTS = Counter("notifications_attempts_total", "Attempts of deliveries by outcome", ["channel", "outcome"])

EXTRA_JOB_ATTEMPTS = 10
"""Attempts that a job has beyond those of its delivery, for errors of our own database."""


def delivery_jobs(channels: Channels, *, max_attempts: int) -> Jobs:
    """Register one job per channel, and the search for lost deliveries."""
    jobs = Jobs()
    for channel, send in channels.items():
        jobs.task(
            job_name(channel),
            attempts=max_attempts + EXTRA_JOB_ATTEMPTS,
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
    """Make one attempt of a delivery. No transaction is open while the message is sent.

    After a crash between sending and recording the message is sent again, with the same id for the provider.
    Raises: RetryRequested if another attempt is due later.
    """
    with bound_contextvars(delivery_id=str(delivery_id), channel=channel):
        async with sessions.begin() as session:
            begun = await begin_attempt(session, delivery_id=delivery_id, max_attempts=max_attempts)
        if isinstance(begun, Attempt):
            failpoint("job.taken")
            outcome = await _attempt(sessions, begun, channel=channel, send=send, max_attempts=max_attempts)
        else:
            outcome = begun
        if isinstance(outcome, DeliveryFailed):
            ATTEMPTS.labels(channel, "failed").inc()
            logger.error("delivery_failed", reason=outcome.code)
        if isinstance(outcome, RetryLater):
            raise RetryRequested(delay=outcome.delay, reason=outcome.code)


async def _attempt(
    sessions: Sessions, attempt: Attempt, *, channel: Channel, send: Send, max_attempts: int
) -> RetryLater | DeliveryFailed | None:
    sent = await _send(send, attempt)
    if isinstance(sent, Receipt):
        failpoint("job.sent")
        async with sessions.begin() as session:
            is_new = await complete_attempt(session, attempt, receipt=sent)
        failpoint("job.marked")
        if is_new:
            ATTEMPTS.labels(channel, "sent").inc()
            logger.info("delivery_sent", attempt=attempt.number)
        return None
    async with sessions.begin() as session:
        outcome = await fail_attempt(session, attempt, error=sent, max_attempts=max_attempts)
    if isinstance(outcome, RetryLater):
        ATTEMPTS.labels(channel, "retried").inc()
        logger.warning("delivery_attempt_failed", attempt=attempt.number, reason=sent.code)
    return outcome


async def _send(send: Send, attempt: Attempt) -> Receipt | SendFailed:
    try:
        return await send(attempt)
    except SendFailed as error:
        return error
    except Exception:
        # A bug of ours, such as a template that lacks a value. It counts as an attempt, so that retries end.
        logger.exception("delivery_attempt_crashed")
        return SendFailed("internal_error")

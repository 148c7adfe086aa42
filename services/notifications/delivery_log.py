"""Logs and a metric of attempts, written after their commit."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from prometheus_client import Counter, Histogram
from structlog.contextvars import bound_contextvars

from services.notifications.channels import Attempt
from services.notifications.deliveries import Outcome
from shared.exemplars import current_exemplar
from shared.telemetry import continued_trace

logger = structlog.get_logger(__name__)

ATTEMPTS = Counter("notifications_attempts_total", "Attempts of deliveries by outcome", ["channel", "outcome"])
ATTEMPT_SECONDS = Histogram(
    "notifications_attempt_seconds",
    "Duration of an attempt: until the provider has answered, or the attempt was given up",
    ["channel"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)


def report(outcome: Outcome) -> None:
    """Log and count an outcome, after its commit."""
    attempt = outcome.attempt
    if outcome.status == "failed":
        report_failure(attempt, reason=outcome.error)
        return
    ATTEMPTS.labels(attempt.channel, "sent" if outcome.status == "sent" else "retried").inc()
    with logging_of(attempt):
        if outcome.status == "sent":
            logger.info("delivery_sent", attempt=attempt.number)
        else:
            logger.warning("delivery_attempt_failed", attempt=attempt.number, reason=outcome.error)


def report_failure(attempt: Attempt, *, reason: str | None) -> None:
    """Log and count a delivery that has failed, after its commit."""
    ATTEMPTS.labels(attempt.channel, "failed").inc()
    with logging_of(attempt):
        logger.error("delivery_failed", reason=reason)


@contextmanager
def timing(attempt: Attempt) -> Iterator[None]:
    """Observe how long an attempt takes, in the current trace."""
    began_at = time.perf_counter()
    try:
        yield
    finally:
        seconds = time.perf_counter() - began_at
        ATTEMPT_SECONDS.labels(attempt.channel).observe(seconds, current_exemplar())


@contextmanager
def logging_of(attempt: Attempt) -> Iterator[None]:
    """Continue the attempt's trace in a block. Its logs name the delivery."""
    with (
        continued_trace(attempt.traceparent),
        bound_contextvars(delivery_id=str(attempt.delivery_id), channel=attempt.channel),
    ):
        yield

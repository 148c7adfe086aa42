"""Spans of attempts, in the traces of their events, and of the transactions that claim and record them."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from opentelemetry.trace import Link, Span, SpanKind

from services.notifications.channels import Attempt
from services.notifications.deliveries import Outcome
from shared.telemetry import active, is_tracing, parse_traceparent, span, start_span


def attempt_span(attempt: Attempt) -> AbstractContextManager[Span]:
    """Make an attempt in a span, below the current one."""
    if not is_tracing():
        return span(attempt.channel)
    return span(
        f"deliver {attempt.channel}",
        kind=SpanKind.CLIENT,
        attributes={
            "orderly.delivery_id": str(attempt.delivery_id),
            "orderly.notification_id": str(attempt.notification_id),
            "orderly.channel": attempt.channel,
            "orderly.attempt": attempt.number,
            "cloudevents.event_id": str(attempt.event_id),
            "cloudevents.event_type": attempt.event_type,
        },
    )


@contextmanager
def batch_span(finished: Sequence[Outcome]) -> Iterator[None]:
    """Record outcomes, and claim deliveries, in a span of its own that is linked with the traces of the outcomes."""
    if not is_tracing():
        yield
        return
    contexts = [parse_traceparent(outcome.attempt.traceparent) for outcome in finished]
    with active(
        start_span(
            "batch deliveries",
            kind=SpanKind.INTERNAL,
            traceparent=None,
            attributes={"orderly.outcomes": len(finished)},
            links=[Link(context) for context in contexts if context],
        )
    ):
        yield

"""Spans of events: one for each that is published or applied, in the event's own trace, linked with those of batches.

Attributes are those of OpenTelemetry's conventions for messaging and CloudEvents; `orderly.` precedes ours.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple

import asyncpg
from opentelemetry.trace import INVALID_SPAN, Link, Span, SpanKind, get_current_span

from shared.messaging.envelope import EventContext, Place, Received
from shared.telemetry import Attributes, active, fail, is_tracing, start_span, traceparent_of, tracestate_of


class TracedBatch:
    """The spans of a batch: one of its transaction, and one of each event, which its handler continues."""

    def __init__(self, events: Sequence[Received], *, batch: Span, spans: Mapping[Place, Span]) -> None:
        self.events = events
        """The events, whose contexts name their spans as the parents of what the handlers do."""
        self._batch = batch
        self._spans = spans

    def retried(self, error: str, *, delay_seconds: float) -> None:
        """Note a retry in place after a transient error."""
        self._batch.add_event("retried", {"error": error, "orderly.retry_delay_seconds": delay_seconds})

    def committed(self, *, applied: Sequence[EventContext], dead_letters: Mapping[Place, str]) -> None:
        """Note the outcome of each event; `dead_letters` have the reasons. Call it after the commit."""
        if not self._spans:
            return
        ids = {context.event_id for context in applied}
        for event in self.events:
            if (one := self._spans.get(event.place)) is None:
                continue
            if reason := dead_letters.get(event.place):
                one.set_attribute("orderly.outcome", "dead_lettered")
                one.add_event("dead_lettered", {"orderly.reason": reason})
                fail(one, reason)
            else:
                is_applied = event.context is not None and event.context.event_id in ids
                one.set_attribute("orderly.outcome", "applied" if is_applied else "duplicate")


@contextmanager
def traced_batch(events: Sequence[Received], *, consumer: str) -> Iterator[TracedBatch]:
    """Run a transaction that applies events in spans.

    Each event's span is in the event's trace. The transaction's own, which has the statements, is below the span of a
    lone event. That of several events begins a trace of its own, linked with theirs.
    """
    if not is_tracing():
        yield TracedBatch(events, batch=INVALID_SPAN, spans={})
        return
    spans = {event.place: _applying(event, event.context, consumer=consumer) for event in events if event.context}
    lone = next(iter(spans.values())) if len(events) == len(spans) == 1 else None
    batch = start_span(
        f"batch {consumer}",
        kind=SpanKind.INTERNAL,
        traceparent=traceparent_of(lone.get_span_context()) if lone else None,
        attributes={**_messaging(events[0].topic), "messaging.consumer.group.name": consumer}
        | {"messaging.batch.message_count": len(events)},
        links=[] if lone else [Link(one.get_span_context()) for one in spans.values()],
    )
    if lone is None:
        for one in spans.values():
            one.add_link(batch.get_span_context())
    try:
        with active(batch):
            yield TracedBatch([_continued(event, spans) for event in events], batch=batch, spans=spans)
    except BaseException:
        for one in spans.values():
            one.set_attribute("orderly.outcome", "rolled_back")
        raise
    finally:
        for one in spans.values():
            one.end()


@contextmanager
def traced_replay(event: Received, *, consumer: str) -> Iterator[Received]:
    """Apply a dead letter's event in a span of the event's trace."""
    if not is_tracing() or event.context is None:
        yield event
        return
    applying = _applying(event, event.context, consumer=consumer)
    applying.set_attribute("orderly.is_replay", True)
    with active(applying):
        yield _continued(event, {event.place: applying})


def _applying(event: Received, context: EventContext, *, consumer: str) -> Span:
    return start_span(
        f"apply {context.type}",
        kind=SpanKind.CONSUMER,
        traceparent=context.traceparent,
        tracestate=context.tracestate,
        attributes={
            **_messaging(event.topic),
            "messaging.operation.name": "apply",
            "messaging.operation.type": "process",
            "messaging.consumer.group.name": consumer,
            "messaging.destination.partition.id": str(event.partition),
            "messaging.kafka.offset": event.offset,
            "messaging.kafka.message.key": event.key,
            "cloudevents.event_id": str(context.event_id),
            "cloudevents.event_type": context.type,
            "orderly.sequence": context.sequence,
        },
    )


def _continued(event: Received, spans: Mapping[Place, Span]) -> Received:
    one = spans.get(event.place)
    if one is None or event.context is None:
        return event
    context = one.get_span_context()
    return event._replace(
        context=event.context._replace(traceparent=traceparent_of(context), tracestate=tracestate_of(context))
    )


class Trace(NamedTuple):
    """The headers of an event's trace."""

    traceparent: str | None
    tracestate: str | None


class PublishedEvents:
    """The spans of the rows that are sent to one partition, from the moment they are put into a Kafka batch."""

    def __init__(self, topic: str, partition: int) -> None:
        self._topic = topic
        self._partition = partition
        self._is_tracing = is_tracing()
        self._spans: dict[int, Span] = {}

    def trace_of(self, row: asyncpg.Record) -> Trace:
        """Return the trace context that the row's record gets: that of its span, or as it is stored."""
        if not self._is_tracing:
            return Trace(row["traceparent"], row["tracestate"])
        started = self._spans.get(row["id"])
        if started is None:
            started = self._spans[row["id"]] = self._start(row)
        context = started.get_span_context()
        return Trace(traceparent_of(context), tracestate_of(context))

    def sent(self, rows: Sequence[asyncpg.Record], *, offset: int) -> None:
        """End the spans of rows that Kafka has stored from this offset on."""
        if not self._is_tracing:
            return
        for position, row in enumerate(rows):
            ended = self._spans.pop(row["id"])
            ended.set_attribute("messaging.kafka.offset", offset + position)
            ended.end()

    def failed(self, error: BaseException) -> None:
        """End the spans of rows that were not sent, or not acknowledged."""
        for ended in self._spans.values():
            fail(ended, error)
            ended.end()

    def _start(self, row: asyncpg.Record) -> Span:
        page = get_current_span()
        occurred_at: datetime = row["occurred_at"]
        started = start_span(
            f"publish {row['type']}",
            kind=SpanKind.PRODUCER,
            traceparent=row["traceparent"],
            tracestate=row["tracestate"],
            attributes={
                **_messaging(self._topic),
                "messaging.operation.name": "publish",
                "messaging.operation.type": "send",
                "messaging.destination.partition.id": str(self._partition),
                "messaging.kafka.message.key": row["key"],
                "cloudevents.event_id": str(row["event_id"]),
                "cloudevents.event_type": row["type"],
                "orderly.sequence": row["sequence"],
                "orderly.outbox.waiting_seconds": round(max(0.0, time.time() - occurred_at.timestamp()), 6),
            },
            links=[Link(page.get_span_context())] if page.is_recording() else [],
        )
        page.add_link(started.get_span_context())
        return started


@contextmanager
def traced_page(rows: int) -> Iterator[None]:
    """Publish a page of the outbox in a span of its own, which is linked with those of its events."""
    if not is_tracing():
        yield
        return
    attributes: Attributes = {"messaging.system": "kafka", "messaging.batch.message_count": rows}
    with active(start_span("publish page", kind=SpanKind.CLIENT, traceparent=None, attributes=attributes)):
        yield


def _messaging(topic: str) -> dict[str, Any]:
    return {"messaging.system": "kafka", "messaging.destination.name": topic}

"""Applying one partition's slice of events in one transaction with its effects."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import structlog
from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from shared.errors import Refusal
from shared.messaging import dead_letter, inbox, metrics
from shared.messaging.dead_letter import Parked, ParkReason
from shared.messaging.envelope import EventContext, Received
from shared.messaging.failpoints import failpoint
from shared.messaging.inbox import Position
from shared.messaging.subscription import Subscription
from shared.telemetry import continued_trace

logger = structlog.get_logger(__name__)


class PoisonError(Exception):
    """One event of the slice can never be applied; the slice must be run again event by event."""

    def __init__(self, reason: ParkReason, error: str) -> None:
        super().__init__(error)
        self.reason = reason
        self.error = error


@dataclass
class SliceResult:
    """What came of a slice; counted and logged only after its commit."""

    applied: list[EventContext] = field(default_factory=list)
    duplicates: int = 0
    gaps: list[EventContext] = field(default_factory=list)
    parked: list[Parked] = field(default_factory=list)


@dataclass
class _Slice:
    """A slice half way: where its keys are, and what was done so far."""

    session: AsyncSession
    consumer: str
    subscription: Subscription
    oldest: date
    fresh: set[UUID]
    positions: dict[str, Position]
    steps: dict[str, Position] = field(default_factory=dict)
    result: SliceResult = field(default_factory=SliceResult)

    async def take(self, event: Received) -> None:
        """Apply one event, or see why not."""
        context = event.context
        if context is None:
            await self._park(event, ParkReason.UNDECODABLE, event.error)
            return
        last = self._position(event.key)
        is_late = context.sequence <= last.sequence
        if last.sequence and context.sequence > last.sequence + 1:
            self.result.gaps.append(context)
        if self.subscription.handler_of(context.type) is None:
            self._move(event)
        elif not _is_in_window(context, self.oldest):
            await self._take_old(event, context, is_late=is_late)
        elif context.event_id not in self.fresh:
            self.result.duplicates += 1
        elif is_late:
            # It was never applied, and its successors were: somebody must decide.
            await self._park(event, ParkReason.OUT_OF_ORDER, f"sequence {last.sequence} was here before")
        elif last.parked:
            await self._park(event, ParkReason.BEHIND)
        else:
            await apply_event(self.session, subscription=self.subscription, event=event, context=context)
            self.fresh.discard(context.event_id)
            self._move(event)
            self.result.applied.append(context)

    async def _take_old(self, event: Received, context: EventContext, *, is_late: bool) -> None:
        """The inbox knows nothing of the event's day any more; the key's position still tells a repetition."""
        if is_late:
            self.result.duplicates += 1
        else:
            await self._park(event, ParkReason.TOO_OLD, f"the event is of {context.day}")

    def _position(self, key: str) -> Position:
        before, step = self.positions.get(key, Position()), self.steps.get(key, Position())
        return Position(sequence=max(before.sequence, step.sequence), parked=before.parked + step.parked)

    def _move(self, event: Received, *, parked: int = 0) -> None:
        step = self.steps.get(event.key, Position())
        sequence = event.context.sequence if event.context else 0
        self.steps[event.key] = Position(sequence=max(step.sequence, sequence), parked=step.parked + parked)

    async def _park(self, event: Received, reason: ParkReason, error: str | None = None) -> None:
        parked = Parked(event, reason, error)
        is_new = await dead_letter.park(
            self.session, consumer=self.consumer, topic=self.subscription.topic, parked=parked
        )
        self._move(event, parked=int(is_new))
        if is_new:
            self.result.parked.append(parked)


async def apply_slice(
    session: AsyncSession, *, consumer: str, subscription: Subscription, events: Sequence[Received]
) -> SliceResult:
    """Apply events of one partition, in order, each at most once; the caller commits.

    Raises: PoisonError when a handled event can't be applied, and whatever a handler raises besides.
    """
    oldest = _oldest_day()
    claimable = [
        event.context
        for event in events
        if event.context and subscription.handler_of(event.context.type) and _is_in_window(event.context, oldest)
    ]
    applying = _Slice(
        session=session,
        consumer=consumer,
        subscription=subscription,
        oldest=oldest,
        fresh=await inbox.claim(session, consumer=consumer, contexts=claimable),
        positions=await inbox.lock_positions(
            session, consumer=consumer, topic=subscription.topic, keys=(event.key for event in events)
        ),
    )
    for event in events:
        await applying.take(event)
    await inbox.advance(session, consumer=consumer, topic=subscription.topic, steps=applying.steps)
    failpoint("consumer.handled")
    return applying.result


async def park_event(
    session: AsyncSession, *, consumer: str, topic: str, event: Received, reason: ParkReason, error: str
) -> SliceResult:
    """Put one event aside and move its key on; the caller commits."""
    if event.context and _is_in_window(event.context, _oldest_day()):
        await inbox.claim(session, consumer=consumer, contexts=[event.context])
    await inbox.lock_positions(session, consumer=consumer, topic=topic, keys=[event.key])
    parked = Parked(event, reason, error)
    is_new = await dead_letter.park(session, consumer=consumer, topic=topic, parked=parked)
    step = Position(sequence=event.context.sequence if event.context else 0, parked=int(is_new))
    await inbox.advance(session, consumer=consumer, topic=topic, steps={event.key: step})
    return SliceResult(parked=[parked] if is_new else [])


def report(result: SliceResult, *, consumer: str) -> None:
    """Count and log what a committed slice did."""
    now = datetime.now(UTC)
    for context in result.applied:
        metrics.APPLIED.labels(consumer, context.type).inc()
        metrics.END_TO_END.labels(consumer).observe(max(0.0, (now - context.time).total_seconds()))
    if result.duplicates:
        metrics.DUPLICATES.labels(consumer).inc(result.duplicates)
    for context in result.gaps:
        metrics.GAPS.labels(consumer).inc()
        logger.warning(
            "event_gap_seen", consumer=consumer, key=context.key, sequence=context.sequence, type=context.type
        )
    for parked in result.parked:
        metrics.PARKED.labels(consumer, parked.reason).inc()
        context_of = parked.received.context
        logger.error(
            "event_parked",
            consumer=consumer,
            reason=parked.reason.value,
            error=parked.error,
            key=parked.received.key,
            event_id=str(context_of.event_id) if context_of else None,
            type=context_of.type if context_of else None,
            partition=parked.received.partition,
            offset=parked.received.offset,
        )


async def apply_event(
    session: AsyncSession, *, subscription: Subscription, event: Received, context: EventContext
) -> None:
    """Run the handler of one event. Raises: PoisonError, and what the handler raises besides refusals."""
    found = subscription.handler_of(context.type)
    if found is None:
        return
    event_class, handler = found
    try:
        data = event_class.model_validate_json(event.value)
    except ValidationError as invalid:
        raise PoisonError(ParkReason.INVALID, _summary(invalid)) from invalid
    if data.key != event.key:
        raise PoisonError(ParkReason.INVALID, "the record's key is not the event's key")
    try:
        with continued_trace(context.traceparent, tracestate=context.tracestate):
            await handler(session, data, context)
    except Refusal as refusal:
        raise PoisonError(ParkReason.REFUSED, f"{refusal.code}: {refusal.detail or refusal.title}") from refusal


def _oldest_day() -> date:
    return datetime.now(UTC).date() - inbox.RETENTION + timedelta(days=1)


def _is_in_window(context: EventContext, oldest: date) -> bool:
    """Whether the inbox has a partition for the event's id."""
    return oldest <= context.day <= datetime.now(UTC).date() + timedelta(days=1)


def _summary(invalid: ValidationError) -> str:
    """Where and why, without the values: they may be personal."""
    return "; ".join(f"{'.'.join(map(str, e['loc'])) or 'body'}: {e['type']}" for e in invalid.errors())

"""Applying one partition's slice of events in one transaction with its effects."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from shared.faults import is_passing
from shared.messaging import dead_letter, inbox, metrics
from shared.messaging.dead_letter import Parked, ParkReason
from shared.messaging.envelope import EventContext, Received
from shared.messaging.failpoints import failpoint
from shared.messaging.handling import HandlerFailed, PoisonError, data_of, hand_over, verdict_on
from shared.messaging.inbox import Position
from shared.messaging.subscription import Handling, Subscription

logger = structlog.get_logger(__name__)

_NOWHERE = Position()


@dataclass
class SliceResult:
    """What came of a slice; counted and logged only after its commit."""

    applied: list[EventContext] = field(default_factory=list)
    duplicates: int = 0
    gaps: list[EventContext] = field(default_factory=list)
    parked: list[Parked] = field(default_factory=list)


def _days_remembered() -> frozenset[date]:
    """The days for which the inbox has partitions, up to tomorrow: clocks differ."""
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    return frozenset(tomorrow - timedelta(days=n) for n in range(inbox.RETENTION.days + 1))


@dataclass
class _Slice:
    """A slice half way: where its keys are, and what was done so far."""

    session: AsyncSession
    consumer: str
    subscription: Subscription
    guarded: Collection[int]
    days: frozenset[date]
    """Of which the inbox remembers events."""
    known: set[UUID]
    """Events that were applied or parked before, or are by now."""
    before: dict[str, Position]
    """Where the keys were when their rows were locked."""
    sequences: dict[str, int] = field(init=False)
    """The last sequence seen of each key."""
    parked: Counter[str] = field(default_factory=Counter)
    """How many events of each key this slice has parked."""
    run: dict[int, tuple[Any, EventContext]] = field(default_factory=dict)
    """Neighbours that one handler is going to get together: their data, by the offset."""
    handling: Handling | None = None
    """Of the run."""
    result: SliceResult = field(default_factory=SliceResult)

    def __post_init__(self) -> None:
        self.sequences = {key: position.sequence for key, position in self.before.items()}

    async def take(self, event: Received) -> None:
        """Apply one event, or see why not; the last ones wait for `end`."""
        context = event.context
        if context is None:
            await self._park(event, ParkReason.UNDECODABLE, event.error)
            return
        last = self.sequences.get(event.key, 0)
        if last and context.sequence > last + 1:
            self.result.gaps.append(context)
        handling = self.subscription.handling_of(context.type)
        if handling is None:
            self._move(event)
        elif context.day not in self.days:
            await self._take_old(event, context, is_late=context.sequence <= last)
        elif context.event_id in self.known:
            self.result.duplicates += 1
        else:
            self.known.add(context.event_id)
            await self._take_new(event, context, handling, is_late=context.sequence <= last)

    async def end(self) -> None:
        """Apply what is left, and move the keys on."""
        await self._end_run()
        steps = {
            key: Position(sequence, self.parked.get(key, 0))
            for key, sequence in self.sequences.items()
            if key in self.parked or sequence != self._before(key).sequence
        }
        await inbox.advance(self.session, consumer=self.consumer, topic=self.subscription.topic, steps=steps)

    async def _apply(self, event: Received, context: EventContext, handling: Handling) -> None:
        try:
            data = data_of(event, handling.event_classes[context.type])
        except PoisonError as poison:
            # No handler has seen it, so there is nothing to undo.
            await self._park(event, poison.reason, poison.error)
            return
        if event.offset in self.guarded:
            await self._end_run()
            await self._apply_guarded(event, context, handling, data=data)
            return
        if handling is not self.handling or not handling.takes_many:
            await self._end_run()
            self.handling = handling
        self.run[event.offset] = data, context
        self._count(event, context)

    async def _end_run(self) -> None:
        run, self.run = self.run, {}
        if not run or self.handling is None:
            return
        try:
            await hand_over(self.session, handling=self.handling, events=list(run.values()))
        except Exception as fault:
            if is_passing(fault):
                raise
            raise HandlerFailed(set(run)) from fault

    async def _apply_guarded(self, event: Received, context: EventContext, handling: Handling, *, data: Any) -> None:
        """In a savepoint: what fails leaves nothing behind but itself, parked."""
        try:
            async with self.session.begin_nested():
                await hand_over(self.session, handling=handling, events=[(data, context)])
        except Exception as fault:
            if is_passing(fault):
                raise
            if not isinstance(fault, PoisonError):
                logger.exception("event_handler_failed", consumer=self.consumer, offset=event.offset)
            await self._park(event, *verdict_on(fault))
        else:
            self._count(event, context)

    def _count(self, event: Received, context: EventContext) -> None:
        # None that is late gets here, so this is further than the key was.
        self.sequences[event.key] = context.sequence
        self.result.applied.append(context)

    async def _take_new(self, event: Received, context: EventContext, handling: Handling, *, is_late: bool) -> None:
        if is_late:
            # It was never applied, and its successors were: somebody must decide.
            await self._park(event, ParkReason.OUT_OF_ORDER, f"sequence {self.sequences[event.key]} was here before")
        elif event.key in self.parked or self._before(event.key).parked:
            await self._park(event, ParkReason.BEHIND)
        else:
            await self._apply(event, context, handling)

    async def _take_old(self, event: Received, context: EventContext, *, is_late: bool) -> None:
        """The inbox knows nothing of the event's day any more; the key's position still tells a repetition."""
        if is_late:
            self.result.duplicates += 1
        else:
            await self._park(event, ParkReason.TOO_OLD, f"the event is of {context.day}")

    def _before(self, key: str) -> Position:
        return self.before.get(key, _NOWHERE)

    def _move(self, event: Received) -> None:
        sequence = event.context.sequence if event.context else 0
        self.sequences[event.key] = max(self.sequences.get(event.key, 0), sequence)

    async def _park(self, event: Received, reason: ParkReason, error: str | None = None) -> None:
        parked = Parked(event, reason, error)
        is_new = await dead_letter.park(
            self.session, consumer=self.consumer, topic=self.subscription.topic, parked=parked
        )
        self._move(event)
        if is_new:
            self.parked[event.key] += 1
            self.result.parked.append(parked)


async def apply_slice(
    session: AsyncSession,
    *,
    consumer: str,
    subscription: Subscription,
    events: Sequence[Received],
    guarded: Collection[int] = (),
) -> SliceResult:
    """Apply events of one partition, in order, each at most once; the caller commits.

    Those at the offsets `guarded` get a savepoint, which costs two round trips: if one of them fails, it is parked, and
    the later ones of its key behind it.

    Raises: HandlerFailed when any other can't be applied, and trouble that passes.
    """
    days = _days_remembered()
    # Before the events are claimed: a process that has lost the partition, and is still at work on them, is waited for.
    before = await inbox.lock_positions(
        session, consumer=consumer, topic=subscription.topic, keys=(event.key for event in events)
    )
    claimable = [
        event.context
        for event in events
        if event.context and subscription.handling_of(event.context.type) and event.context.day in days
    ]
    applying = _Slice(
        session=session,
        consumer=consumer,
        subscription=subscription,
        guarded=guarded,
        days=days,
        known=await inbox.claim(session, consumer=consumer, contexts=claimable),
        before=before,
    )
    for event in events:
        await applying.take(event)
    await applying.end()
    failpoint("consumer.handled")
    return applying.result


async def park_event(
    session: AsyncSession, *, consumer: str, topic: str, event: Received, reason: ParkReason, error: str
) -> SliceResult:
    """Put one event aside and move its key on; the caller commits."""
    await inbox.lock_positions(session, consumer=consumer, topic=topic, keys=[event.key])
    if event.context and event.context.day in _days_remembered():
        await inbox.claim(session, consumer=consumer, contexts=[event.context])
    parked = Parked(event, reason, error)
    is_new = await dead_letter.park(session, consumer=consumer, topic=topic, parked=parked)
    step = Position(sequence=event.context.sequence if event.context else 0, parked=int(is_new))
    await inbox.advance(session, consumer=consumer, topic=topic, steps={event.key: step})
    return SliceResult(parked=[parked] if is_new else [])


def report(result: SliceResult, *, consumer: str) -> None:
    """Count and log what a committed slice did."""
    now = datetime.now(UTC)
    metrics.END_TO_END.labels(consumer).observe_all(
        [max(0.0, (now - context.time).total_seconds()) for context in result.applied]
    )
    for event_type, count in Counter(context.type for context in result.applied).items():
        metrics.APPLIED.labels(consumer, event_type).inc(count)
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

"""The bookkeeping of a batch: which of its events are applied, in which order, and how far each key is."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from uuid import UUID

import structlog

from shared.exemplars import exemplar_of_largest
from shared.messaging import metrics
from shared.messaging.consumer.dispatch import DecodedEvent, NotApplicable, decode, trusted_context
from shared.messaging.consumer.inbox import Position
from shared.messaging.consumer.subscription import Handling, Subscription
from shared.messaging.dead_letters.reason import DeadLetterReason
from shared.messaging.dead_letters.store import NewDeadLetter
from shared.messaging.envelope import EventContext, Place, Received
from shared.telemetry import continued_trace

logger = structlog.get_logger(__name__)

_UNSEEN = Position()


@dataclass
class BatchResult:
    """The outcome of a batch; `report` counts and logs it after the commit."""

    applied: list[EventContext] = field(default_factory=list)
    duplicates: int = 0
    dead_letters: list[NewDeadLetter] = field(default_factory=list)

    def report(self, *, consumer: str) -> None:
        """Count and log the outcome. Call it after the commit."""
        now = datetime.now(UTC)
        delays = [max(0.0, (now - context.time).total_seconds()) for context in self.applied]
        metrics.END_TO_END.labels(consumer).observe_all(
            delays, exemplar=exemplar_of_largest(delays, lambda index: self.applied[index].traceparent)
        )
        for event_type, count in Counter(context.type for context in self.applied).items():
            metrics.APPLIED.labels(consumer, event_type).inc(count)
        if self.duplicates:
            metrics.DUPLICATES.labels(consumer).inc(self.duplicates)
        for dead_letter in self.dead_letters:
            metrics.DEAD_LETTERS.labels(consumer, dead_letter.reason).inc()
            context = dead_letter.received.context
            with continued_trace(context.traceparent, tracestate=context.tracestate) if context else nullcontext():
                logger.error("event_dead_lettered", consumer=consumer, **dead_letter.log_fields())

    def reasons(self) -> dict[Place, str]:
        """Return the reason of each new dead letter by its place."""
        return {dead_letter.received.place: dead_letter.reason.value for dead_letter in self.dead_letters}


@dataclass
class Run:
    """Neighbouring events that one handler takes in one call, in their order, as received and decoded."""

    handling: Handling
    in_savepoint: bool = False
    """Whether the call runs inside a savepoint, so that a failure does not undo the other events."""
    items: list[tuple[Received, DecodedEvent]] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    """The keys of its events, and of those that were in it before it was halved."""

    @property
    def received(self) -> list[Received]:
        """The events as received."""
        return [received for received, _ in self.items]

    @property
    def decoded(self) -> list[DecodedEvent]:
        """The events as the handler gets them."""
        return [decoded for _, decoded in self.items]

    def add(self, event: Received, decoded: DecodedEvent) -> None:
        """Add the next event."""
        self.items.append((event, decoded))
        self.keys.add(event.key)

    def without(self, keys: Collection[str]) -> "Run":
        """Return a run without the events of these keys."""
        if self.keys.isdisjoint(keys):
            return self
        return replace(self, items=[(event, decoded) for event, decoded in self.items if event.key not in keys])

    def halves(self) -> "tuple[Run, Run]":
        """Return two runs with half of the events each."""
        middle = len(self.items) // 2
        return replace(self, items=self.items[:middle]), replace(self, items=self.items[middle:])


class BatchProgress:
    """Decides what to do with each event of a batch, and records the outcomes. Does no I/O."""

    def __init__(
        self,
        subscription: Subscription,
        *,
        days: frozenset[date],
        known: set[UUID],
        positions: Mapping[str, Position],
    ) -> None:
        """Begin a batch. The inbox remembers events of `days`, and knew the ids in `known`.

        `positions` are those of before the batch, and locked.
        """
        self.result = BatchResult()
        self._subscription = subscription
        self._days = days
        self._known = known
        self._before = positions
        self._sequences = {key: position.sequence for key, position in positions.items()}
        self.dead_letters: Counter[str] = Counter()
        """The number of new dead letters that block each key."""
        self._failed: Run | None = None

    def steps(self, events: Sequence[Received], *, savepoints: Collection[Place]) -> Iterator[Run | NewDeadLetter]:
        """Yield what to do, in order. Report each step's outcome before taking the next one.

        Events at the places in `savepoints` are in runs inside savepoints. These usually failed before, so they come as
        halves; if one of them fails, its halves follow, and theirs, until a run of one event fails.
        """
        run: Run | None = None
        for event in events:
            decision = None if self._subscription.ignores(event.headers) else self._decide(event)
            if decision is None:
                continue
            if isinstance(decision, NewDeadLetter):
                # Earlier events of its key come first: if one of them fails, it is the key's first dead letter.
                if run is not None and event.key in run.keys and decision.reason.blocks_key:
                    yield from self._steps_of(run)
                    run = None
                yield decision
                continue
            handling, decoded = decision
            in_savepoint = event.place in savepoints
            if run is not None and (run.handling is not handling or run.in_savepoint != in_savepoint):
                yield from self._steps_of(run)
                run = None
            run = run or Run(handling, in_savepoint=in_savepoint)
            run.add(event, decoded)
            if not handling.takes_batch:
                yield from self._steps_of(run)
                run = None
        if run is not None:
            yield from self._steps_of(run)

    def applied(self, run: Run) -> None:
        """Note that a run's handler has applied its events."""
        self.result.applied.extend(context for _, context in run.decoded)

    def failed(self, run: Run) -> None:
        """Note that a run of several events failed inside its savepoint."""
        self._failed = run

    def dead_lettered(self, dead_letter: NewDeadLetter, *, stored: set[Place]) -> None:
        """Note that an event becomes a dead letter, and add it to those that are stored."""
        is_new = dead_letter.received.place not in stored
        stored.add(dead_letter.received.place)
        if dead_letter.reason.blocks_key:
            self._advance(dead_letter.received)
            self.dead_letters.update([dead_letter.received.key] if is_new else [])
        if is_new:
            self.result.dead_letters.append(dead_letter)

    def _steps_of(self, run: Run) -> Iterator[Run | NewDeadLetter]:
        """Yield a run, or in savepoints its halves, and the halves of a half that fails.

        Events that an earlier part has blocked become dead letters.
        """
        pending = list(reversed(run.halves())) if run.in_savepoint else [run]
        while pending:
            part = pending.pop()
            yield from (
                NewDeadLetter(event, DeadLetterReason.BLOCKED)
                for event in part.received
                if event.key in self.dead_letters
            )
            part = part.without(self.dead_letters)
            if not part.items:
                continue
            yield part
            if part is self._failed:
                pending += reversed(part.halves())

    def _decide(self, event: Received) -> tuple[Handling, DecodedEvent] | NewDeadLetter | None:
        """Return what handles the decoded event, or why it becomes a dead letter; None if there is nothing to do."""
        try:
            context = trusted_context(event, self._subscription)
        except NotApplicable as error:
            return NewDeadLetter(event, error.reason, error.error)
        last = self._sequences.get(event.key, 0)
        # For a day past the inbox's retention, the key's position still shows a duplicate.
        is_duplicate = context.event_id in self._known if context.day in self._days else context.sequence <= last
        if is_duplicate:
            self.result.duplicates += 1
            return None
        if dead_letter := self._dead_letter_for(event, context, last=last):
            return dead_letter
        handling = self._subscription.handling_of(context.type)
        if handling is None:
            return None
        try:
            decoded = decode(event, context, handling)
        except NotApplicable as error:
            return NewDeadLetter(event, error.reason, error.error)
        self._advance(event)
        return handling, decoded

    def _dead_letter_for(self, event: Received, context: EventContext, *, last: int) -> NewDeadLetter | None:
        """Return the dead letter of an event that cannot be applied now; `last` is the sequence seen before it."""
        if context.day not in self._days:
            return NewDeadLetter(event, DeadLetterReason.TOO_OLD, f"the event is of {context.day}")
        self._known.add(context.event_id)
        if context.sequence <= last:
            # It was never applied and its successors were: an operator must decide.
            return NewDeadLetter(event, DeadLetterReason.OUT_OF_ORDER, f"sequence {last} was seen before it")
        if event.key in self.dead_letters or self._before.get(event.key, _UNSEEN).dead_letters:
            return NewDeadLetter(event, DeadLetterReason.BLOCKED)
        return None

    def _advance(self, event: Received) -> None:
        sequence = event.context.sequence if event.context else 0
        self._sequences[event.key] = max(self._sequences.get(event.key, 0), sequence)

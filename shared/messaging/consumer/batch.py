"""Applying a batch: events of one topic, in one transaction with their effects."""

from collections.abc import Collection, Container, Iterable, Sequence
from contextlib import nullcontext
from datetime import date

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from shared.messaging.consumer import inbox
from shared.messaging.consumer.dispatch import NotApplicable, classify, dispatch
from shared.messaging.consumer.inbox import Begun
from shared.messaging.consumer.progress import BatchProgress, BatchResult, Run
from shared.messaging.consumer.subscription import Subscription
from shared.messaging.dead_letters.store import NewDeadLetter, store_all, stored_places
from shared.messaging.envelope import Place, Received
from shared.messaging.failpoints import failpoint
from shared.transient_errors import is_transient

logger = structlog.get_logger(__name__)


class HandlerFailed(Exception):
    """A handler could not apply one of the events at these places; the cause says why."""

    def __init__(self, places: set[Place]) -> None:
        super().__init__(f"at {sorted(places)}")
        self.places = places


async def apply_batch(
    session: AsyncSession,
    *,
    consumer: str,
    subscription: Subscription,
    events: Sequence[Received],
    savepoints: Collection[Place] = (),
    generation: int | None = None,
) -> BatchResult:
    """Apply events in order, each at most once; the caller commits. All events of a key are of one partition.

    Events of ignored types do nothing. Only those that the subscription trusts move positions and are claimed: a record
    with another source must not disturb the key that it names.

    Events at places in `savepoints` run inside savepoints, which cost two round trips each: the handler gets the halves
    of its events, and the halves of a half that fails. The event that fails alone becomes a dead letter, and later
    events of its key queue behind it.

    Raises: HandlerFailed if a handler fails outside a savepoint; GenerationChanged if the database has another
    generation than the given one; transient errors.
    """
    topic = subscription.topic
    days = inbox.remembered_days()
    begun = await _begin(session, consumer, subscription, events, days=days, generation=generation)
    stored: set[Place] | None = None
    progress = BatchProgress(subscription, days=days, known=begun.known, positions=begun.positions)
    for step in progress.steps(events, savepoints=savepoints):
        dead_letter = step if isinstance(step, NewDeadLetter) else None
        if isinstance(step, Run):
            try:
                async with session.begin_nested() if step.in_savepoint else nullcontext():
                    await dispatch(session, handling=step.handling, events=step.decoded)
            except Exception as error:  # noqa: BLE001 - raised again unless the savepoint has undone it
                dead_letter = _dead_letter_after(error, step, consumer=consumer)
                if dead_letter is None:
                    progress.failed(step)
            else:
                progress.applied(step)
        if dead_letter is not None:
            if stored is None:
                stored = await stored_places(session, consumer=consumer, topic=topic, events=events)
            progress.dead_lettered(dead_letter, stored=stored)
    await store_all(session, consumer=consumer, topic=topic, dead_letters=progress.result.dead_letters)
    await inbox.add_dead_letters(session, consumer=consumer, topic=topic, added=progress.dead_letters)
    failpoint("consumer.handled")
    return progress.result


async def _begin(
    session: AsyncSession,
    consumer: str,
    subscription: Subscription,
    events: Sequence[Received],
    *,
    days: Container[date],
    generation: int | None,
) -> Begun:
    """Lock the keys of the trusted events, move their positions, and claim those events."""
    trusted = [event for event in events if event.context and subscription.trusts(event.context)]
    if not trusted:
        return Begun({}, set())
    return await inbox.begin_batch(
        session,
        consumer=consumer,
        topic=subscription.topic,
        last=_last_of_keys(trusted),
        contexts=[event.context for event in trusted if event.context and event.context.day in days],
        generation=generation,
    )


async def store_dead_letter(
    session: AsyncSession, *, consumer: str, topic: str, dead_letter: NewDeadLetter
) -> BatchResult:
    """Store one event as a dead letter without trying to apply it; the caller commits."""
    event = dead_letter.received
    context = event.context if dead_letter.reason.blocks_key else None
    if context is not None:
        claimable = [context] if context.day in inbox.remembered_days() else []
        last = {event.key: event}
        await inbox.begin_batch(session, consumer=consumer, topic=topic, last=last, contexts=claimable)
    is_new = bool(await store_all(session, consumer=consumer, topic=topic, dead_letters=[dead_letter]))
    if context is not None:
        await inbox.add_dead_letters(session, consumer=consumer, topic=topic, added={event.key: int(is_new)})
    return BatchResult(dead_letters=[dead_letter] if is_new else [])


def _last_of_keys(events: Iterable[Received]) -> dict[str, Received]:
    """Return the event of each key that has its highest sequence."""
    last: dict[str, Received] = {}
    for event in events:
        before = last.get(event.key)
        if before is None or _sequence_of(event) > _sequence_of(before):
            last[event.key] = event
    return last


def _sequence_of(event: Received) -> int:
    return event.context.sequence if event.context else 0


def _dead_letter_after(error: Exception, run: Run, *, consumer: str) -> NewDeadLetter | None:
    """Return the dead letter for the only event of a run that failed in its savepoint; None if it has several.

    Raises: a transient `error`, HandlerFailed outside of a savepoint.
    """
    if is_transient(error):
        raise error
    if not run.in_savepoint:
        raise HandlerFailed({event.place for event in run.received}) from error
    if len(run.items) > 1:
        return None
    (event,) = run.received
    if not isinstance(error, NotApplicable):
        logger.error(
            "event_handler_failed",
            consumer=consumer,
            partition=event.partition,
            offset=event.offset,
            exc_info=error,
        )
    return NewDeadLetter(event, *classify(error))

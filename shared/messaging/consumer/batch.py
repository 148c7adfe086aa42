"""Applying a batch: events of one topic, in one transaction with their effects."""

from collections.abc import Collection, Sequence
from contextlib import nullcontext

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from shared.messaging.consumer import inbox
from shared.messaging.consumer.dispatch import NotApplicable, classify, dispatch
from shared.messaging.consumer.progress import BatchProgress, BatchResult, Run
from shared.messaging.consumer.subscription import Subscription
from shared.messaging.dead_letters.store import NewDeadLetter, store
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
) -> BatchResult:
    """Apply events in order, each at most once; the caller commits. All events of a key are of one partition.

    Events at places in `savepoints` run inside savepoints, which cost two round trips each: the handler gets the halves
    of its events, and the halves of a half that fails. The event that fails alone becomes a dead letter, and later
    events of its key queue behind it.

    Raises: HandlerFailed if a handler fails outside a savepoint; transient errors.
    """
    topic = subscription.topic
    days = inbox.remembered_days()
    claimable = [
        event.context
        for event in events
        if event.context and subscription.handling_of(event.context.type) and event.context.day in days
    ]
    begun = await inbox.begin_batch(
        session, consumer=consumer, topic=topic, sequences=_last_sequences(events), contexts=claimable
    )
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
            is_new = await store(session, consumer=consumer, topic=topic, dead_letter=dead_letter)
            progress.dead_lettered(dead_letter, is_new=is_new)
    await inbox.add_dead_letters(session, consumer=consumer, topic=topic, added=progress.dead_letters)
    failpoint("consumer.handled")
    return progress.result


async def store_dead_letter(
    session: AsyncSession, *, consumer: str, topic: str, dead_letter: NewDeadLetter
) -> BatchResult:
    """Store one event as a dead letter without trying to apply it; the caller commits."""
    event = dead_letter.received
    is_claimable = event.context is not None and event.context.day in inbox.remembered_days()
    await inbox.begin_batch(
        session,
        consumer=consumer,
        topic=topic,
        sequences=_last_sequences([event]),
        contexts=[event.context] if event.context and is_claimable else [],
    )
    is_new = await store(session, consumer=consumer, topic=topic, dead_letter=dead_letter)
    await inbox.add_dead_letters(session, consumer=consumer, topic=topic, added={event.key: int(is_new)})
    return BatchResult(dead_letters=[dead_letter] if is_new else [])


def _last_sequences(events: Sequence[Received]) -> dict[str, int]:
    """Return the highest sequence of each key; 0 if no event of it has one."""
    last: dict[str, int] = {}
    for event in events:
        sequence = event.context.sequence if event.context else 0
        last[event.key] = max(last.get(event.key, 0), sequence)
    return last


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

"""Applying a batch: the events of one partition, in one transaction with their effects."""

from collections.abc import Collection, Sequence
from contextlib import nullcontext

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from shared.messaging.consumer import inbox
from shared.messaging.consumer.dispatch import NotApplicable, classify, dispatch
from shared.messaging.consumer.inbox import Position
from shared.messaging.consumer.progress import BatchProgress, BatchResult, Run
from shared.messaging.consumer.subscription import Subscription
from shared.messaging.dead_letters.store import NewDeadLetter, store
from shared.messaging.envelope import Received
from shared.messaging.failpoints import failpoint
from shared.transient_errors import is_transient

logger = structlog.get_logger(__name__)


class HandlerFailed(Exception):
    """A handler could not apply one of these events, named by their offsets; the cause says why."""

    def __init__(self, offsets: set[int]) -> None:
        super().__init__(f"at offsets {sorted(offsets)}")
        self.offsets = offsets


async def apply_batch(
    session: AsyncSession,
    *,
    consumer: str,
    subscription: Subscription,
    events: Sequence[Received],
    savepoints: Collection[int] = (),
) -> BatchResult:
    """Apply events of one partition in order, each at most once; the caller commits.

    An event at an offset in `savepoints` runs inside a savepoint, which costs two round trips: if it fails, it becomes
    a dead letter, and later events of its key queue behind it.

    Raises: HandlerFailed if a handler fails outside a savepoint; transient errors.
    """
    topic = subscription.topic
    days = inbox.remembered_days()
    # Lock before claiming: another member that has lost the partition may still be applying the same events.
    positions = await inbox.lock_positions(session, consumer=consumer, topic=topic, keys=(each.key for each in events))
    claimable = [
        event.context
        for event in events
        if event.context and subscription.handling_of(event.context.type) and event.context.day in days
    ]
    known = await inbox.claim(session, consumer=consumer, contexts=claimable)
    progress = BatchProgress(subscription, days=days, known=known, positions=positions)
    for step in progress.steps(events, savepoints=savepoints):
        dead_letter = step if isinstance(step, NewDeadLetter) else None
        if isinstance(step, Run):
            try:
                async with session.begin_nested() if step.in_savepoint else nullcontext():
                    await dispatch(session, handling=step.handling, events=step.events)
            except Exception as error:  # noqa: BLE001 - raised again unless the savepoint has undone it
                dead_letter = _dead_letter_after(error, step, consumer=consumer)
            else:
                progress.applied(step)
        if dead_letter is not None:
            is_new = await store(session, consumer=consumer, topic=topic, dead_letter=dead_letter)
            progress.dead_lettered(dead_letter, is_new=is_new)
    await inbox.advance(session, consumer=consumer, topic=topic, positions=progress.changed_positions())
    failpoint("consumer.handled")
    return progress.result


async def store_dead_letter(
    session: AsyncSession, *, consumer: str, topic: str, dead_letter: NewDeadLetter
) -> BatchResult:
    """Store one event as a dead letter without trying to apply it; the caller commits."""
    event = dead_letter.received
    await inbox.lock_positions(session, consumer=consumer, topic=topic, keys=[event.key])
    if event.context and event.context.day in inbox.remembered_days():
        await inbox.claim(session, consumer=consumer, contexts=[event.context])
    is_new = await store(session, consumer=consumer, topic=topic, dead_letter=dead_letter)
    position = Position(sequence=event.context.sequence if event.context else 0, dead_letters=int(is_new))
    await inbox.advance(session, consumer=consumer, topic=topic, positions={event.key: position})
    return BatchResult(dead_letters=[dead_letter] if is_new else [])


def _dead_letter_after(error: Exception, run: Run, *, consumer: str) -> NewDeadLetter:
    """Return the dead letter for a failed event. Raises: a transient `error`, HandlerFailed outside of a savepoint."""
    if is_transient(error):
        raise error
    if not run.in_savepoint:
        raise HandlerFailed({event.offset for event in run.received}) from error
    (event,) = run.received
    if not isinstance(error, NotApplicable):
        logger.error("event_handler_failed", consumer=consumer, offset=event.offset, exc_info=error)
    return NewDeadLetter(event, *classify(error))

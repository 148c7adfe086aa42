"""Replaying a dead letter that blocks no key: it is judged as when it arrived."""

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database import Sessions
from shared.messaging.consumer import inbox
from shared.messaging.consumer.dispatch import NotApplicable, trusted_context
from shared.messaging.consumer.subscription import Subscription
from shared.messaging.dead_letters.queries import DeadLetter, DeadLetterDetail, find_dead_letter
from shared.messaging.dead_letters.reason import DeadLetterReason
from shared.operations.replay import KeyReplay, apply, record_failure, resolve, stored_event
from shared.transient_errors import is_transient

logger = structlog.get_logger(__name__)


async def replay_alone(
    sessions: Sessions, dead_letter: DeadLetter, *, subscription: Subscription, actor: str
) -> KeyReplay:
    """Apply a dead letter that blocks no key, if the consumer would apply its event now. Raises: transient errors."""
    try:
        async with sessions.begin() as session:
            detail = await find_dead_letter(session, dead_letter.id)
            if detail is None or detail.dead_letter.resolution is not None:
                return KeyReplay(0)
            await _apply_alone(session, detail, subscription=subscription)
            await resolve(session, dead_letter, resolution="replayed", actor=actor, detail=None)
    except Exception as error:
        if is_transient(error):
            raise
        return KeyReplay(0, dead_letter, await record_failure(sessions, dead_letter, actor=actor, error=error))
    logger.info("dead_letter_replayed", dead_letter_id=dead_letter.id, consumer=dead_letter.consumer, actor=actor)
    return KeyReplay(1)


async def _apply_alone(session: AsyncSession, detail: DeadLetterDetail, *, subscription: Subscription) -> None:
    """Apply an event that was neither claimed nor moved its key's position, in the order of its key.

    Raises: NotApplicable, also if its key is blocked or past it.
    """
    received = stored_event(detail)
    if subscription.ignores(received.headers):
        return
    context = trusted_context(received, subscription)
    begun = await inbox.begin_batch(
        session,
        consumer=detail.dead_letter.consumer,
        topic=detail.dead_letter.topic,
        last={context.key: received},
        contexts=[context] if context.day in inbox.remembered_days() else [],
    )
    if context.event_id in begun.known:
        return
    position = begun.positions.get(context.key, inbox.Position())
    if position.dead_letters:
        raise NotApplicable(DeadLetterReason.BLOCKED, "an earlier dead letter blocks its key")
    if context.sequence <= position.sequence:
        raise NotApplicable(DeadLetterReason.OUT_OF_ORDER, f"sequence {position.sequence} was seen before it")
    await apply(session, detail, subscription=subscription)

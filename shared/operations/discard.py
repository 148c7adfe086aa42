"""Resolving dead letters whose events are not applied: discarded by operators, or expired. Every action is recorded."""

from collections.abc import Callable, Sequence

import sqlalchemy as sa
import structlog

from shared.database import Sessions
from shared.messaging.consumer import inbox
from shared.messaging.dead_letters.queries import DeadLetter
from shared.operations.replay import resolve

logger = structlog.get_logger(__name__)

RETENTION = "retention"
"""The actor that gives up dead letters past their retention."""
DISCARD_PAGE = 1_000
"""Dead letters that block no key and are discarded in one transaction."""

_DISCARD_ALL = sa.text("""
    WITH discarded AS (
        UPDATE dead_letter SET resolution = 'discarded', resolved_at = clock_timestamp()
        WHERE id = ANY(CAST(:ids AS bigint[])) AND resolution IS NULL
        RETURNING id
    )
    INSERT INTO dead_letter_action (dead_letter_id, actor, action, outcome, detail)
    SELECT id, :actor, 'discard', 'done', :note FROM discarded
    RETURNING dead_letter_id
""")


async def discard_all(
    sessions: Sessions,
    dead_letters: Sequence[DeadLetter],
    *,
    actor: str,
    note: str,
    on_discarded: Callable[[int], None] | None = None,
) -> list[DeadLetter]:
    """Discard dead letters that block no key, many in one transaction; return those that were unresolved."""
    discarded: list[DeadLetter] = []
    for start in range(0, len(dead_letters), DISCARD_PAGE):
        page = dead_letters[start : start + DISCARD_PAGE]
        parameters = {"ids": [dead_letter.id for dead_letter in page], "actor": actor, "note": note}
        async with sessions.begin() as session:
            ids = set(await session.scalars(_DISCARD_ALL, parameters))
        discarded += [dead_letter for dead_letter in page if dead_letter.id in ids]
        logger.warning("dead_letters_discarded", dead_letters=len(ids), actor=actor)
        if on_discarded is not None:
            on_discarded(start + len(page))
    return discarded


async def discard_one(sessions: Sessions, dead_letter: DeadLetter, *, actor: str, note: str) -> bool:
    """Discard a dead letter, with a note; return False if it is resolved already or does not exist any more."""
    is_discarded = await _resolve_unapplied(sessions, dead_letter, resolution="discarded", actor=actor, note=note)
    if is_discarded:
        consumer = dead_letter.consumer
        logger.warning("dead_letter_discarded", dead_letter_id=dead_letter.id, consumer=consumer, actor=actor)
    return is_discarded


async def expire_one(sessions: Sessions, dead_letter: DeadLetter, *, note: str) -> bool:
    """Give up a dead letter that no operator has resolved in time; return False if it is resolved already.

    Its event is never applied; the drain goes on with the key's next one.
    """
    is_expired = await _resolve_unapplied(sessions, dead_letter, resolution="expired", actor=RETENTION, note=note)
    if is_expired:
        logger.error(
            "dead_letter_expired",
            dead_letter_id=dead_letter.id,
            consumer=dead_letter.consumer,
            key=dead_letter.key,
            event_id=str(dead_letter.event_id) if dead_letter.event_id else None,
            type=dead_letter.type,
            reason=dead_letter.reason,
        )
    return is_expired


async def _resolve_unapplied(
    sessions: Sessions, dead_letter: DeadLetter, *, resolution: str, actor: str, note: str
) -> bool:
    consumer, topic, key = dead_letter.consumer_key
    async with sessions.begin() as session:
        await inbox.lock_position(session, consumer=consumer, topic=topic, key=key)
        return await resolve(session, dead_letter, resolution=resolution, actor=actor, detail=note)

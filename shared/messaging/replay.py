"""Acting on parked events: applying them again in their key's order, or discarding them; every act is on record."""

import time
from collections.abc import Callable, Collection, Sequence
from datetime import timedelta

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database import Sessions
from shared.faults import is_passing
from shared.messaging import inbox
from shared.messaging.dead_letter import ParkReason
from shared.messaging.envelope import Received, headers_from_text, received_of
from shared.messaging.handling import PoisonError, apply_event, verdict_on
from shared.messaging.parked_events import ParkedDetail, ParkedEvent, show_parked
from shared.messaging.subscription import Subscription

logger = structlog.get_logger(__name__)

DRAIN = "drain"
"""The actor of what happens by itself."""
HANDLER_TRIES = 3
"""How often one replay tries an event whose handler fails for a reason of its own, such as a lost race."""
DRAIN_TRIES = 6
"""How often such an event is taken up by itself, before somebody has to look."""
FIRST_DRAIN_PAUSE = timedelta(seconds=5)
"""From the failure to the first time; doubled from each to the next."""

_HEAD = sa.text("""
    SELECT id FROM parked_event
    WHERE consumer = :consumer AND topic = :topic AND key = :key AND resolution IS NULL
    ORDER BY id LIMIT 1
""")

# The drain's own failures, which are on record, say how often an event was tried, and when it was last.
_TO_DRAIN = sa.text("""
    SELECT consumer, topic, key FROM (
        SELECT DISTINCT ON (consumer, topic, key) id, consumer, topic, key, reason, parked_at
        FROM parked_event
        WHERE resolution IS NULL
        AND (CAST(:consumers AS text[]) IS NULL OR consumer = ANY(CAST(:consumers AS text[])))
        ORDER BY consumer, topic, key, id
    ) AS head
    WHERE reason = 'behind' OR reason = 'retrying' AND clock_timestamp() >= (
        SELECT coalesce(max(acted_at), head.parked_at) + CAST(:first_pause AS interval) * 2 ^ count(*)
        FROM parked_event_action
        WHERE parked_event_id = head.id AND actor = :drain AND outcome = 'failed'
    )
    LIMIT :limit
""")
_TRIES = sa.text("""
    SELECT count(*) FROM parked_event_action
    WHERE parked_event_id = :id AND actor = :drain AND outcome = 'failed'
""")


async def replay_key(
    sessions: Sessions,
    *,
    subscription: Subscription,
    consumer: str,
    topic: str,
    key: str,
    actor: str,
    deadline: float | None = None,
    on_applied: Callable[[], None] | None = None,
) -> tuple[int, tuple[ParkedEvent, str] | None]:
    """Apply a key's waiting events in order, one transaction each, up to the first that fails.

    Returns how many were applied, and the event that stopped it with its reason. Takes the lock that consumption
    takes: what arrives meanwhile waits, and is applied after or parked behind. Past the `deadline`, by the monotonic
    clock, nothing more is begun.
    """
    applied = failures = 0
    while deadline is None or time.monotonic() < deadline:
        head: ParkedEvent | None = None
        try:
            async with sessions.begin() as session:
                found = await _locked_head(session, consumer=consumer, topic=topic, key=key)
                if found is None:
                    break
                head = found.event
                await _apply_again(session, subscription=subscription, parked=found)
                await _resolve(session, head, resolution="replayed", actor=actor, detail=None)
        except Exception as fault:
            if head is None or is_passing(fault):
                raise
            failures += 1
            if not isinstance(fault, PoisonError) and failures < HANDLER_TRIES:
                continue
            return applied, (head, await _note_failure(sessions, head, actor=actor, fault=fault))
        applied, failures = applied + 1, 0
        logger.info("parked_event_replayed", parked_event_id=head.id, consumer=consumer, actor=actor)
        if on_applied is not None:
            on_applied()
    return applied, None


async def discard(sessions: Sessions, *, parked_ids: Sequence[int], actor: str, reason: str) -> list[ParkedEvent]:
    """Give events up for good, with a reason; returns those that were still waiting."""
    discarded = []
    for parked_id in parked_ids:
        async with sessions.begin() as session:
            detail = await show_parked(session, parked_id)
            if detail is None:
                continue
            event = detail.event
            await inbox.lock_positions(session, consumer=event.consumer, topic=event.topic, keys=[event.key])
            is_done = await _resolve(session, event, resolution="discarded", actor=actor, detail=reason)
        if is_done:
            discarded.append(event)
            logger.warning("parked_event_discarded", parked_event_id=event.id, consumer=event.consumer, actor=actor)
    return discarded


async def keys_to_drain(
    session: AsyncSession, *, consumers: Collection[str] | None = None, limit: int = 100
) -> list[tuple[str, str, str]]:
    """Keys whose first waiting event only stood behind another one, or is to be tried again by now.

    `consumers` are those that can apply something; None means all.
    """
    rows = await session.execute(
        _TO_DRAIN,
        {
            "consumers": None if consumers is None else list(consumers),
            "limit": limit,
            "drain": DRAIN,
            "first_pause": FIRST_DRAIN_PAUSE,
        },
    )
    return [(consumer, topic, key) for consumer, topic, key in rows]


async def _locked_head(session: AsyncSession, *, consumer: str, topic: str, key: str) -> ParkedDetail | None:
    await inbox.lock_positions(session, consumer=consumer, topic=topic, keys=[key])
    parked_id = await session.scalar(_HEAD, {"consumer": consumer, "topic": topic, "key": key})
    return None if parked_id is None else await show_parked(session, parked_id)


async def _apply_again(session: AsyncSession, *, subscription: Subscription, parked: ParkedDetail) -> None:
    received = _received_of(parked)
    if received.context is None:
        raise PoisonError(ParkReason.UNDECODABLE, received.error or "unreadable")
    # What could not be read when it came was claimed by nobody yet; it may have come again since.
    if parked.event.event_id is not None or not await inbox.claim(
        session, consumer=parked.event.consumer, contexts=[received.context]
    ):
        await apply_event(session, subscription=subscription, event=received, context=received.context)


def _received_of(parked: ParkedDetail) -> Received:
    event = parked.event
    return received_of(
        topic=event.topic,
        partition=event.partition,
        offset=event.offset,
        key=event.key,
        value=parked.payload,
        headers=headers_from_text(parked.headers),
    )


async def _resolve(
    session: AsyncSession, parked: ParkedEvent, *, resolution: str, actor: str, detail: str | None
) -> bool:
    """Close a waiting event, and let its key wait for one less; False when it was closed before."""
    closed = await session.execute(
        sa.text(
            "UPDATE parked_event SET resolution = :resolution, resolved_at = clock_timestamp()"
            " WHERE id = :id AND resolution IS NULL RETURNING id"
        ),
        {"resolution": resolution, "id": parked.id},
    )
    if closed.first() is None:
        return False
    step = inbox.Position(sequence=parked.sequence or 0, parked=-1)
    await inbox.advance(session, consumer=parked.consumer, topic=parked.topic, steps={parked.key: step})
    action = "replay" if resolution == "replayed" else "discard"
    await _note(session, parked, actor=actor, action=action, outcome="done", detail=detail)
    return True


async def _note_failure(sessions: Sessions, parked: ParkedEvent, *, actor: str, fault: Exception) -> str:
    """Put the failure on record; returns it in words."""
    reason, why = verdict_on(fault)
    async with sessions.begin() as session:
        await _note(session, parked, actor=actor, action="replay", outcome="failed", detail=why)
        tries = await session.scalar(_TRIES, {"id": parked.id, "drain": DRAIN})
        if reason is ParkReason.RETRYING and tries >= DRAIN_TRIES:
            reason = ParkReason.TRIES_USED_UP
        # What the drain takes up must change with a failure: left as it was, it would be tried for ever.
        await session.execute(
            sa.text(
                "UPDATE parked_event SET reason = :reason, error = :error"
                " WHERE id = :id AND resolution IS NULL AND reason IN ('behind', 'retrying')"
            ),
            {"id": parked.id, "reason": reason.value, "error": why},
        )
    logger.warning("parked_event_replay_failed", parked_event_id=parked.id, consumer=parked.consumer, reason=why)
    return why


async def _note(
    session: AsyncSession, parked: ParkedEvent, *, actor: str, action: str, outcome: str, detail: str | None
) -> None:
    await session.execute(
        sa.text(
            "INSERT INTO parked_event_action (parked_event_id, actor, action, outcome, detail)"
            " VALUES (:parked_event_id, :actor, :action, :outcome, :detail)"
        ),
        {"parked_event_id": parked.id, "actor": actor, "action": action, "outcome": outcome, "detail": detail},
    )

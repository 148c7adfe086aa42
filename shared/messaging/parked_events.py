"""Looking at parked events, applying them again in their key's order, or discarding them: every act is on record.

The tool and the admin routes call these.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database import Sessions
from shared.messaging import inbox
from shared.messaging.dead_letter import ParkReason
from shared.messaging.envelope import Received, received_of
from shared.messaging.faults import is_passing
from shared.messaging.slices import PoisonError, apply_event
from shared.messaging.subscription import Subscription

logger = structlog.get_logger(__name__)

DRAIN = "drain"
"""The actor of what happens by itself."""

_COLUMNS = """
    id, consumer, topic, partition, "offset", key, event_id, type, sequence, reason, error, parked_at, resolution,
    resolved_at
"""

_FILTER = """
    (CAST(:consumer AS text) IS NULL OR consumer = :consumer) AND (CAST(:key AS text) IS NULL OR key = :key)
    AND (CAST(:type AS text) IS NULL OR type = :type) AND (CAST(:reason AS text) IS NULL OR reason = :reason)
    AND (CAST(:id AS bigint) IS NULL OR id = :id)
"""

_HEAD = sa.text(f"""
    SELECT {_COLUMNS}, headers, payload FROM parked_event
    WHERE consumer = :consumer AND topic = :topic AND key = :key AND resolution IS NULL
    ORDER BY id LIMIT 1
""")  # noqa: S608 - the parts are constants of this module


@dataclass(frozen=True)
class ParkedFilter:
    """Which parked events are meant; None means any."""

    consumer: str | None = None
    key: str | None = None
    type: str | None = None
    reason: ParkReason | None = None
    id: int | None = None


@dataclass(frozen=True)
class ParkedEvent:
    """A parked event as people see it."""

    id: int
    consumer: str
    topic: str
    partition: int
    offset: int
    key: str
    event_id: UUID | None
    type: str | None
    sequence: int | None
    reason: str
    error: str | None
    parked_at: datetime
    resolution: str | None
    resolved_at: datetime | None


@dataclass(frozen=True)
class ParkedDetail:
    """A parked event whole, with what was done about it."""

    event: ParkedEvent
    headers: dict[str, str]
    payload: bytes
    actions: list[dict[str, Any]]


async def list_parked(
    session: AsyncSession, *, wanted: ParkedFilter, after_id: int = 0, limit: int = 100
) -> list[ParkedEvent]:
    """Waiting events in the order in which they were parked."""
    rows = await session.execute(
        sa.text(
            f"SELECT {_COLUMNS} FROM parked_event "  # noqa: S608 - the parts are constants of this module
            f"WHERE resolution IS NULL AND id > :after_id AND {_FILTER} ORDER BY id LIMIT :limit"
        ),
        {**_parameters(wanted), "after_id": after_id, "limit": limit},
    )
    return [ParkedEvent(**row) for row in rows.mappings()]


async def show_parked(session: AsyncSession, parked_id: int) -> ParkedDetail | None:
    """One event with its payload and its history, resolved or not."""
    row = (
        (
            await session.execute(
                sa.text(f"SELECT {_COLUMNS}, headers, payload FROM parked_event WHERE id = :id"),  # noqa: S608 - constants
                {"id": parked_id},
            )
        )
        .mappings()
        .one_or_none()
    )
    if row is None:
        return None
    actions = await session.execute(
        sa.text(
            "SELECT actor, action, outcome, detail, acted_at FROM parked_event_action"
            " WHERE parked_event_id = :id ORDER BY id"
        ),
        {"id": parked_id},
    )
    values = dict(row)
    return ParkedDetail(
        headers=values.pop("headers"),
        payload=values.pop("payload"),
        event=ParkedEvent(**values),
        actions=[dict(action) for action in actions.mappings()],
    )


async def waiting_keys(
    session: AsyncSession, *, wanted: ParkedFilter, limit: int | None = None
) -> list[tuple[str, str, str, int]]:
    """(consumer, topic, key, waiting events) of every key with a waiting event that is meant, oldest first."""
    rows = await session.execute(
        sa.text(f"""
            SELECT consumer, topic, key, count(*) FROM parked_event
            WHERE resolution IS NULL AND (consumer, topic, key) IN (
                SELECT consumer, topic, key FROM parked_event WHERE resolution IS NULL AND {_FILTER}
            )
            GROUP BY consumer, topic, key ORDER BY min(id) LIMIT :limit
        """),  # noqa: S608 - the parts are constants of this module
        {**_parameters(wanted), "limit": limit},
    )
    return [(consumer, topic, key, count) for consumer, topic, key, count in rows]


async def replay_key(
    sessions: Sessions, *, subscription: Subscription, consumer: str, topic: str, key: str, actor: str
) -> tuple[int, tuple[ParkedEvent, str] | None]:
    """Apply a key's waiting events in order, one transaction each, up to the first that fails.

    Returns how many were applied, and the event that stopped it with its reason. Takes the lock that consumption
    takes: what arrives meanwhile waits, and is applied after or parked behind.
    """
    applied = 0
    while True:
        head: ParkedEvent | None = None
        try:
            async with sessions.begin() as session:
                found = await _locked_head(session, consumer=consumer, topic=topic, key=key)
                if found is None:
                    return applied, None
                head, received = found
                await _apply_again(session, subscription=subscription, parked=head, received=received)
                await _resolve(session, head, resolution="replayed", actor=actor, detail=None)
        except Exception as fault:
            if head is None or is_passing(fault):
                raise
            why = fault.error if isinstance(fault, PoisonError) else repr(fault)
            async with sessions.begin() as session:
                await _note(session, head, actor=actor, action="replay", outcome="failed", detail=why)
            logger.warning("parked_event_replay_failed", parked_event_id=head.id, consumer=consumer, reason=why)
            return applied, (head, why)
        applied += 1
        logger.info("parked_event_replayed", parked_event_id=head.id, consumer=consumer, actor=actor)


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
            if await _resolve(session, event, resolution="discarded", actor=actor, detail=reason):
                discarded.append(event)
                logger.warning("parked_event_discarded", parked_event_id=event.id, consumer=event.consumer, actor=actor)
    return discarded


async def keys_to_drain(session: AsyncSession, *, limit: int = 100) -> list[tuple[str, str, str]]:
    """Keys whose first waiting event only stood behind one that is resolved: nothing holds them back any more."""
    rows = await session.execute(
        sa.text("""
            SELECT consumer, topic, key FROM (
                SELECT DISTINCT ON (consumer, topic, key) consumer, topic, key, reason
                FROM parked_event WHERE resolution IS NULL ORDER BY consumer, topic, key, id
            ) AS head WHERE reason = 'behind' LIMIT :limit
        """),
        {"limit": limit},
    )
    return [(consumer, topic, key) for consumer, topic, key in rows]


async def _locked_head(
    session: AsyncSession, *, consumer: str, topic: str, key: str
) -> tuple[ParkedEvent, Received] | None:
    await inbox.lock_positions(session, consumer=consumer, topic=topic, keys=[key])
    row = (await session.execute(_HEAD, {"consumer": consumer, "topic": topic, "key": key})).mappings().one_or_none()
    if row is None:
        return None
    values = dict(row)
    received = received_of(
        topic=topic,
        partition=values["partition"],
        offset=values["offset"],
        key=key,
        value=values.pop("payload"),
        headers=values.pop("headers"),
    )
    return ParkedEvent(**values), received


async def _apply_again(
    session: AsyncSession, *, subscription: Subscription, parked: ParkedEvent, received: Received
) -> None:
    if received.context is None:
        raise PoisonError(ParkReason.UNDECODABLE, received.error or "unreadable")
    if parked.event_id is None:
        # It could not be read when it came, so nobody has claimed it yet; it may have come again since.
        fresh = await inbox.claim(session, consumer=parked.consumer, contexts=[received.context])
        if received.context.event_id not in fresh:
            return
    await apply_event(session, subscription=subscription, event=received, context=received.context)


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


def _parameters(wanted: ParkedFilter) -> dict[str, Any]:
    return {
        "consumer": wanted.consumer,
        "key": wanted.key,
        "type": wanted.type,
        "reason": wanted.reason.value if wanted.reason else None,
        "id": wanted.id,
    }

"""Operations on a consumer's position in one key: show it, and reset it with a record of who did it and why."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database import Sessions
from shared.errors import NotFound
from shared.messaging.consumer import inbox
from shared.messaging.consumer.subscription import Subscription

logger = structlog.get_logger(__name__)

_FIND = sa.text("""
    SELECT sequence, dead_letters FROM inbox_sequence WHERE consumer = :consumer AND topic = :topic AND key = :key
""")
_ACTIONS = sa.text("""
    SELECT actor, before, after, note, acted_at FROM position_action
    WHERE consumer = :consumer AND topic = :topic AND key = :key ORDER BY id
""")
_RESET = sa.text("""
    UPDATE inbox_sequence SET sequence = :after WHERE consumer = :consumer AND topic = :topic AND key = :key
""")
_RECORD = sa.text("""
    INSERT INTO position_action (consumer, topic, key, actor, before, after, note)
    VALUES (:consumer, :topic, :key, :actor, :before, :after, :note)
""")
_PURGE = sa.text("""
    WITH old AS (
        SELECT id FROM position_action WHERE acted_at < :before
        ORDER BY acted_at LIMIT :limit
    ), purged AS (
        DELETE FROM position_action WHERE id = ANY(ARRAY(SELECT id FROM old)) RETURNING id
    )
    SELECT count(*) FROM purged
""")


class PositionNotFound(NotFound):
    """The consumer has no position in this key."""

    code = "position_not_found"


class PositionAction(NamedTuple):
    """A reset of a position."""

    actor: str
    before: int
    after: int
    note: str
    acted_at: datetime


@dataclass(frozen=True)
class KeyPosition:
    """A consumer's position in a key, and the resets of it."""

    consumer: str
    topic: str
    key: str
    sequence: int
    dead_letters: int
    actions: list[PositionAction]


@dataclass(frozen=True)
class PositionReset:
    """A position that was reset, and what it was before."""

    position: KeyPosition
    before: int
    actor: str

    def log(self) -> None:
        """Log the reset after its commit."""
        reset = self.position
        logger.warning(
            "position_reset",
            consumer=reset.consumer,
            key=reset.key,
            before=self.before,
            after=reset.sequence,
            actor=self.actor,
        )


@dataclass(frozen=True)
class PositionOperations:
    """Works on one service's positions; `subscriptions` holds its handlers, by consumer."""

    sessions: Sessions
    subscriptions: Mapping[str, Subscription]

    async def show(self, *, consumer: str, key: str) -> KeyPosition:
        """Return a position, and the resets of it. Raises: PositionNotFound."""
        async with self.sessions() as session:
            return await self._show(session, consumer=consumer, key=key)

    async def reset(self, *, consumer: str, key: str, to: int, actor: str, note: str) -> KeyPosition:
        """Do as `reset_in` in a transaction of its own, and log it. Raises: PositionNotFound."""
        async with self.sessions.begin() as session:
            reset = await self.reset_in(session, consumer=consumer, key=key, to=to, actor=actor, note=note)
        reset.log()
        return reset.position

    async def reset_in(
        self, session: AsyncSession, *, consumer: str, key: str, to: int, actor: str, note: str
    ) -> PositionReset:
        """Set the last sequence that the consumer has seen of a key.

        Waits for a batch that holds the key. The inbox keeps the ids of applied events, so a lower position applies
        none of them again. Raises: PositionNotFound.
        """
        topic = self._topic_of(consumer)
        place = {"consumer": consumer, "topic": topic, "key": key}
        before = await inbox.lock_position(session, consumer=consumer, topic=topic, key=key)
        if before is None:
            raise self._not_found(consumer)
        await session.execute(_RESET, {**place, "after": to})
        action = {"actor": actor, "before": before.sequence, "after": to, "note": note}
        await session.execute(_RECORD, {**place, **action})
        return PositionReset(await self._show(session, consumer=consumer, key=key), before.sequence, actor)

    async def _show(self, session: AsyncSession, *, consumer: str, key: str) -> KeyPosition:
        place = {"consumer": consumer, "topic": self._topic_of(consumer), "key": key}
        found = (await session.execute(_FIND, place)).one_or_none()
        if found is None:
            raise self._not_found(consumer)
        actions = [PositionAction(*action) for action in await session.execute(_ACTIONS, place)]
        return KeyPosition(**place, sequence=found.sequence, dead_letters=found.dead_letters, actions=actions)

    def _topic_of(self, consumer: str) -> str:
        """Return the consumer's topic; no topic if this service has no such consumer."""
        subscription = self.subscriptions.get(consumer)
        return subscription.topic if subscription else ""

    def _not_found(self, consumer: str) -> PositionNotFound:
        if consumer in self.subscriptions:
            return PositionNotFound()
        return PositionNotFound(f"The consumers of this service are {', '.join(sorted(self.subscriptions))}.")


async def purge_position_actions(session: AsyncSession, *, before: datetime, limit: int) -> int:
    """Delete one batch of the records of resets from before a time; return their number.

    Repeat it, in a transaction each, until it returns 0.
    """
    return await session.scalar(_PURGE, {"before": before, "limit": limit}) or 0

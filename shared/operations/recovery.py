"""Recovery of a restored database: its generation, and what its service publishes and reads again."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from shared.messaging.consumer import inbox
from shared.messaging.consumer.subscription import Subscription
from shared.messaging.storage.generation import raise_generation

_UNSENT = sa.text("SELECT count(*) FROM outbox")
_GENERATIONS = sa.text("SELECT generation, timeline, actor, note, raised_at FROM stream_generation ORDER BY generation")


@dataclass(frozen=True)
class Generation:
    """A generation of the database's streams, and who raised it."""

    generation: int
    timeline: str
    actor: str
    note: str
    raised_at: datetime


@dataclass(frozen=True)
class Recovery:
    """A restored database, as its service continues with it."""

    generations: list[Generation]
    """All of them; the last one is the current one."""
    unsent_events: int
    """Events in the outbox. The relay publishes them, again if they had been published before."""
    next_offsets: dict[str, dict[int, int]]
    """Offset after the last record that the database has seen, by consumer and partition."""


async def recover(
    session: AsyncSession, subscriptions: Mapping[str, Subscription], *, actor: str, note: str
) -> Recovery:
    """Raise the generation, so that consumers take the service's new events, and it takes again what it has lost.

    The caller commits. Harmless if nothing was lost: the inbox knows the events that are read again.
    """
    await raise_generation(session, actor=actor, note=note)
    return await show_recovery(session, subscriptions)


async def show_recovery(session: AsyncSession, subscriptions: Mapping[str, Subscription]) -> Recovery:
    """Return how the service continues."""
    return Recovery(
        generations=[Generation(*row) for row in await session.execute(_GENERATIONS)],
        unsent_events=await session.scalar(_UNSENT) or 0,
        next_offsets={
            consumer: await inbox.next_offsets(session, consumer=consumer, topic=subscription.topic)
            for consumer, subscription in subscriptions.items()
        },
    )

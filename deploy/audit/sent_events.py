"""Sent events in the order of their places: the days on which they were sent, then their ids."""

from datetime import date
from typing import NamedTuple

import asyncpg

from deploy.audit.databases import Connection

# Of user.credit_*, whose key is the user, the order is in the payload.
_OF_DAY = """
    SELECT day, id, topic, key, sent_at, event_id, type,
           CASE WHEN type LIKE 'user.credit%' THEN convert_from(payload, 'UTF8')::jsonb->>'order_id' END AS order_id
    FROM outbox_sent WHERE day = $1 AND id > $2 ORDER BY id LIMIT $3
"""
_GENERATION = "SELECT generation, raised_at FROM stream_generation ORDER BY generation DESC LIMIT 1"
_LAST_BEFORE = "SELECT day, id FROM outbox_sent WHERE sent_at <= $1 ORDER BY day DESC, id DESC LIMIT 1"
_NEXT_DAY = "SELECT min(day) FROM outbox_sent WHERE day > $1"


class Place(NamedTuple):
    """The place of a sent event in `outbox_sent`: its primary key."""

    day: date
    id: int

    def __str__(self) -> str:
        return f"{self.day}/{self.id}"

    @classmethod
    def of(cls, text: str) -> "Place":
        """Parse what `str` returned; an empty text is the place before all events. Raises: ValueError."""
        day, _, id_ = text.partition("/")
        return cls(date.fromisoformat(day), int(id_)) if text else cls(date.min, 0)


async def sent_after(connection: Connection, place: Place, *, limit: int) -> list[asyncpg.Record]:
    """Return the events after a place, at most `limit`. Reads one day at a time, by the primary key."""
    rows: list[asyncpg.Record] = []
    while len(rows) < limit:
        rows += await connection.fetch(_OF_DAY, place.day, place.id, limit - len(rows))
        if len(rows) < limit:
            next_day = await connection.fetchval(_NEXT_DAY, place.day)
            if next_day is None:
                break
            place = Place(next_day, 0)
    return rows


async def place_in_generation(connection: Connection, place: Place, generation: int | None) -> tuple[Place, int]:
    """Return where to read on, and the generation: after a restore, ids are given away again.

    `generation`: the one in which `place` was read; None before the first run.
    """
    current, raised_at = await connection.fetchrow(_GENERATION) or (0, None)
    if generation in (None, current):
        return place, current
    last = await connection.fetchrow(_LAST_BEFORE, raised_at)
    return Place.of("") if last is None else Place(*last), current

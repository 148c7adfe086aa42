"""Sending the present state of aggregates again, so that a new or a lost replica is made from nothing."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from shared.events.contract import Event
from shared.messaging.outbox.outbox import record

PAGE_ROWS = 200


@dataclass(frozen=True)
class Republishable:
    """One kind of aggregate: which rows there are, and the event that tells the state of one.

    The event must be one that readers take to replace what they kept. `key` is unique and never changes.
    """

    name: str
    query: sa.Select[Any]
    key: InstrumentedAttribute[Any]
    event_of: Callable[[Any], Event]
    changed_at: InstrumentedAttribute[Any] | None = None

    def selected(self, since: datetime | None) -> sa.Select[Any]:
        """All rows, or those that changed since then; all, too, where no time of change is kept."""
        if since is None or self.changed_at is None:
            return self.query
        return self.query.where(self.changed_at >= since)


async def count_aggregates(session: AsyncSession, kind: Republishable, *, since: datetime | None) -> int:
    """How many `republish_page` would send."""
    meant = kind.selected(since).with_only_columns(kind.key)
    return await session.scalar(sa.select(sa.func.count()).select_from(meant.subquery())) or 0


async def republish_page(
    session: AsyncSession, kind: Republishable, *, since: datetime | None, after: str | None, limit: int = PAGE_ROWS
) -> list[str]:
    """Record the state of the next aggregates in the order of their keys; returns these keys.

    Their rows are locked until the caller commits: a change that is under way is waited for and then seen, and one that
    comes later is numbered later. So no older state follows a newer one.
    """
    query = kind.selected(since).order_by(kind.key).limit(limit)
    if after is not None:
        query = query.where(kind.key > kind.key.type.python_type(after))
    # Not FOR UPDATE: rows that only point to these need not wait.
    rows = (await session.scalars(query.with_for_update(key_share=True, of=kind.key.class_))).all()
    for row in rows:
        record(session, kind.event_of(row))
    return [str(getattr(row, kind.key.key)) for row in rows]

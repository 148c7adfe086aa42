"""Republishing: the current state of aggregates is published again, for consumers that build a replica from it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from shared.events.contract import Event
from shared.messaging.outbox.outbox import record

PAGE_ROWS = 200
"""Upper bound of aggregates per transaction: their rows stay locked until it commits."""


@dataclass(frozen=True)
class Republishable:
    """One type of aggregate: the query for its rows, and the event that holds the state of one row.

    Consumers must replace their copy by the event's state. `key` is a unique column that never changes.
    """

    name: str
    query: sa.Select[Any]
    key: InstrumentedAttribute[Any]
    event_of: Callable[[Any], Event]
    changed_at: InstrumentedAttribute[Any] | None = None

    def selected(self, since: datetime | None, keys: Sequence[str] = ()) -> sa.Select[Any]:
        """Select the rows of these keys, or all, that changed at or after `since`.

        Without `since`, or if the time is not stored, the time of the change does not matter.
        """
        query = self.query.where(self.key.in_(map(self.key.type.python_type, keys))) if keys else self.query
        if since is None or self.changed_at is None:
            return query
        return query.where(self.changed_at >= since)


async def count_aggregates(
    session: AsyncSession, aggregate: Republishable, *, since: datetime | None, keys: Sequence[str] = ()
) -> int:
    """Count the aggregates that all pages of `republish_page` have together."""
    selected = aggregate.selected(since, keys).with_only_columns(aggregate.key)
    return await session.scalar(sa.select(sa.func.count()).select_from(selected.subquery())) or 0


async def republish_page(
    session: AsyncSession,
    aggregate: Republishable,
    *,
    since: datetime | None,
    after: str | None,
    keys: Sequence[str] = (),
    limit: int = PAGE_ROWS,
) -> list[str]:
    """Record the state of the next aggregates in the order of their keys, at most `limit`; return these keys.

    Locks the aggregates' rows until the caller commits. It waits for a concurrent change and then reads its result, and
    a later change gets a later sequence: an older state is never published after a newer one.
    """
    query = aggregate.selected(since, keys).order_by(aggregate.key).limit(limit)
    if after is not None:
        query = query.where(aggregate.key > aggregate.key.type.python_type(after))
    # FOR NO KEY UPDATE: inserting a row that references one of these need not wait.
    rows = (await session.scalars(query.with_for_update(key_share=True, of=aggregate.key.class_))).all()
    for row in rows:
        record(session, aggregate.event_of(row))
    return [str(getattr(row, aggregate.key.key)) for row in rows]

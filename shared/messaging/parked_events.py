"""Looking at parked events: which wait, what they are, and what was done about them."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, JSONB, distinct_on
from sqlalchemy.ext.asyncio import AsyncSession

from shared.messaging.dead_letter import ParkReason

_SUMMARY: tuple[sa.ColumnClause[Any], ...] = (
    sa.column("id", sa.BigInteger),
    sa.column("consumer", sa.Text),
    sa.column("topic", sa.Text),
    sa.column("partition", sa.Integer),
    sa.column("offset", sa.BigInteger),
    sa.column("key", sa.Text),
    sa.column("event_id", sa.Uuid),
    sa.column("type", sa.Text),
    sa.column("sequence", sa.BigInteger),
    sa.column("reason", sa.Text),
    sa.column("error", sa.Text),
    sa.column("parked_at", sa.DateTime(timezone=True)),
    sa.column("resolution", sa.Text),
    sa.column("resolved_at", sa.DateTime(timezone=True)),
)
_TABLE = sa.table("parked_event", *_SUMMARY, sa.column("headers", JSONB), sa.column("payload", BYTEA))
_EVENT = tuple(_TABLE.c[column.name] for column in _SUMMARY)
_STREAM = (_TABLE.c.consumer, _TABLE.c.topic, _TABLE.c.key)


@dataclass(frozen=True)
class ParkedFilter:
    """Which parked events are meant; None means any."""

    consumer: str | None = None
    key: str | None = None
    type: str | None = None
    reason: ParkReason | None = None
    id: int | None = None

    @property
    def is_empty(self) -> bool:
        """Whether every event is meant."""
        return self == ParkedFilter()


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


@dataclass(frozen=True)
class WaitingKey:
    """A key that stands still for a consumer: how many of its events wait, and which is the first."""

    consumer: str
    topic: str
    key: str
    waiting: int
    first: ParkedEvent


def waiting_events(wanted: ParkedFilter) -> sa.Select[*tuple[Any, ...]]:
    """The columns of ParkedEvent, in the order in which they were parked."""
    return sa.select(*_EVENT).where(*_conditions(wanted)).order_by(_TABLE.c.id)


async def list_parked(
    session: AsyncSession, *, wanted: ParkedFilter, after_id: int = 0, limit: int = 100
) -> list[ParkedEvent]:
    """Waiting events in the order in which they were parked."""
    rows = await session.execute(waiting_events(wanted).where(_TABLE.c.id > after_id).limit(limit))
    return [ParkedEvent(*row) for row in rows]


async def show_parked(session: AsyncSession, parked_id: int) -> ParkedDetail | None:
    """One event with its payload and its history, resolved or not."""
    query = sa.select(*_EVENT, _TABLE.c.headers, _TABLE.c.payload).where(_TABLE.c.id == parked_id)
    row = (await session.execute(query)).one_or_none()
    if row is None:
        return None
    *event, headers, payload = row
    actions = await session.execute(
        sa.text(
            "SELECT actor, action, outcome, detail, acted_at FROM parked_event_action"
            " WHERE parked_event_id = :id ORDER BY id"
        ),
        {"id": parked_id},
    )
    return ParkedDetail(
        event=ParkedEvent(*event),
        headers=headers,
        payload=payload,
        actions=[dict(action) for action in actions.mappings()],
    )


async def waiting_keys(
    session: AsyncSession, *, wanted: ParkedFilter, limit: int | None = None
) -> list[tuple[str, str, str, int]]:
    """(consumer, topic, key, waiting events) of every key with a waiting event that is meant, oldest first."""
    meant = sa.select(*_STREAM).where(*_conditions(wanted))
    rows = await session.execute(
        sa.select(*_STREAM, sa.func.count())
        .where(_TABLE.c.resolution.is_(None), sa.tuple_(*_STREAM).in_(meant))
        .group_by(*_STREAM)
        .order_by(sa.func.min(_TABLE.c.id))
        .limit(limit)
    )
    return [(consumer, topic, key, count) for consumer, topic, key, count in rows]


async def with_first_events(session: AsyncSession, keys: Collection[tuple[str, str, str, int]]) -> list[WaitingKey]:
    """What `waiting_keys` found, each with the event that holds it back."""
    columns = [sa.bindparam(None, [key[n] for key in keys], type_=ARRAY(sa.Text)) for n in range(len(_STREAM))]
    named = sa.func.unnest(*columns).table_valued("consumer", "topic", "key").render_derived()
    rows = await session.execute(
        sa.select(*_EVENT)
        .ext(distinct_on(*_STREAM))
        .where(
            _TABLE.c.resolution.is_(None),
            sa.tuple_(*_STREAM).in_(sa.select(named.c.consumer, named.c.topic, named.c.key)),
        )
        .order_by(*_STREAM, _TABLE.c.id)
    )
    firsts = {(first.consumer, first.topic, first.key): first for first in (ParkedEvent(*row) for row in rows)}
    return [
        WaitingKey(*stream, waiting=waiting, first=firsts[stream])
        for *names, waiting in keys
        # One that was resolved since it was found is no longer waiting.
        if (stream := (names[0], names[1], names[2])) in firsts
    ]


def _conditions(wanted: ParkedFilter) -> list[sa.ColumnElement[bool]]:
    meant = {
        _TABLE.c.consumer: wanted.consumer,
        _TABLE.c.key: wanted.key,
        _TABLE.c.type: wanted.type,
        _TABLE.c.reason: wanted.reason.value if wanted.reason else None,
        _TABLE.c.id: wanted.id,
    }
    return [
        _TABLE.c.resolution.is_(None),
        *(column == value for column, value in meant.items() if value is not None),
    ]

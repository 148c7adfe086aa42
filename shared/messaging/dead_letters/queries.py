"""Queries for dead letters: which are unresolved, which keys they block, which actions were taken on them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, JSONB, distinct_on
from sqlalchemy.ext.asyncio import AsyncSession

from shared.messaging.dead_letters.reason import NOT_BLOCKING, DeadLetterReason
from shared.statements import array_rows

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
    sa.column("dead_lettered_at", sa.DateTime(timezone=True)),
    sa.column("resolution", sa.Text),
    sa.column("resolved_at", sa.DateTime(timezone=True)),
)
BLOCKING = f"resolution IS NULL AND reason NOT IN {tuple(sorted(reason.value for reason in NOT_BLOCKING))}"
"""The SQL condition of dead letters that block their keys: as that of the index, which it must equal."""
_TABLE = sa.table(
    "dead_letter",
    *_SUMMARY,
    sa.column("next_try_at", sa.DateTime(timezone=True)),
    sa.column("headers", JSONB),
    sa.column("payload", BYTEA),
)
_DEAD_LETTER = tuple(_TABLE.c[column.name] for column in _SUMMARY)
_CONSUMER_KEY = (_TABLE.c.consumer, _TABLE.c.topic, _TABLE.c.key)


class ConsumerKey(NamedTuple):
    """A topic's key as one consumer applies it: the unit of ordering."""

    consumer: str
    topic: str
    key: str


@dataclass(frozen=True)
class DeadLetterFilter:
    """A filter of unresolved dead letters; None selects any."""

    consumer: str | None = None
    key: str | None = None
    type: str | None = None
    reason: DeadLetterReason | None = None
    id: int | None = None

    @property
    def is_empty(self) -> bool:
        """Return whether it selects every dead letter."""
        return self == DeadLetterFilter()

    @property
    def may_select_alone(self) -> bool:
        """Return whether it can select dead letters that block no key: these have to be named by id or reason."""
        return self.id is not None or (self.reason is not None and not self.reason.blocks_key)

    def names(self, dead_letter: "DeadLetter") -> bool:
        """Return whether it selects a dead letter by its id or by its reason."""
        return dead_letter.id == self.id or dead_letter.reason == self.reason


@dataclass(frozen=True)
class DeadLetter:
    """A dead letter without its headers and payload."""

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
    dead_lettered_at: datetime
    resolution: str | None
    resolved_at: datetime | None

    @property
    def consumer_key(self) -> ConsumerKey:
        """The key of its record, which it may block."""
        return ConsumerKey(self.consumer, self.topic, self.key)

    @property
    def blocks_key(self) -> bool:
        """Return whether later events of its key queue behind it."""
        return DeadLetterReason(self.reason).blocks_key


@dataclass(frozen=True)
class DeadLetterDetail:
    """A dead letter with its headers, its payload, and the actions taken on it."""

    dead_letter: DeadLetter
    headers: dict[str, str]
    payload: bytes
    actions: list[dict[str, Any]]


@dataclass(frozen=True)
class Replayable:
    """A blocked key: how many dead letters it has, and the first, which blocks the others.

    Or a dead letter that blocks no key: the first, and the only one.
    """

    consumer_key: ConsumerKey
    count: int
    first: DeadLetter


def unresolved_dead_letters(wanted: DeadLetterFilter) -> sa.Select[*tuple[Any, ...]]:
    """Select the columns of DeadLetter, oldest first."""
    return sa.select(*_DEAD_LETTER).where(*_conditions(wanted)).order_by(_TABLE.c.id)


async def list_dead_letters(
    session: AsyncSession, *, wanted: DeadLetterFilter, limit: int | None = None
) -> list[DeadLetter]:
    """List unresolved dead letters, oldest first."""
    rows = await session.execute(unresolved_dead_letters(wanted).limit(limit))
    return [DeadLetter(*row) for row in rows]


async def dead_letters_by_id(session: AsyncSession, ids: Collection[int]) -> dict[int, DeadLetter]:
    """Return the dead letters with these ids, resolved or not."""
    has_id = _TABLE.c.id == sa.any_(sa.cast(list(ids), ARRAY(sa.BigInteger)))
    rows = await session.execute(sa.select(*_DEAD_LETTER).where(has_id))
    return {found.id: found for found in (DeadLetter(*row) for row in rows)}


async def find_dead_letter(session: AsyncSession, dead_letter_id: int) -> DeadLetterDetail | None:
    """Find one dead letter, resolved or not."""
    query = sa.select(*_DEAD_LETTER, _TABLE.c.headers, _TABLE.c.payload).where(_TABLE.c.id == dead_letter_id)
    row = (await session.execute(query)).one_or_none()
    if row is None:
        return None
    *columns, headers, payload = row
    actions = await session.execute(
        sa.text(
            "SELECT actor, action, outcome, detail, acted_at FROM dead_letter_action"
            " WHERE dead_letter_id = :id ORDER BY id"
        ),
        {"id": dead_letter_id},
    )
    return DeadLetterDetail(
        dead_letter=DeadLetter(*columns),
        headers=headers,
        payload=payload,
        actions=[dict(action) for action in actions.mappings()],
    )


async def waiting_too_long(
    session: AsyncSession, *, before: datetime, consumers: Collection[str], limit: int
) -> list[DeadLetter]:
    """List dead letters from before a time that only an operator can resolve, oldest first.

    `consumers` are those that this service has. What an earlier one of its key blocks is left out, and so is what the
    drain is about to try; of a consumer that the service no longer has, nothing is.
    """
    earlier = _TABLE.alias("earlier")
    blocks = {table: table.c.reason.not_in([reason.value for reason in NOT_BLOCKING]) for table in (_TABLE, earlier)}
    is_head = ~sa.exists().where(
        earlier.c.resolution.is_(None),
        blocks[earlier],
        *(earlier.c[column.name] == column for column in _CONSUMER_KEY),
        earlier.c.id < _TABLE.c.id,
    )
    is_left_to_operators = _TABLE.c.next_try_at.is_(None)
    is_first = sa.and_(_TABLE.c.reason != DeadLetterReason.BLOCKED.value, is_head, is_left_to_operators)
    is_not_blocked = sa.or_(~blocks[_TABLE], is_first)
    has_no_consumer = sa.and_(_TABLE.c.next_try_at.is_not(None), _TABLE.c.consumer.not_in(list(consumers)))
    old = [_TABLE.c.resolution.is_(None), _TABLE.c.dead_lettered_at < before]
    selects = (
        sa.select(*_DEAD_LETTER).where(*old, condition).order_by(_TABLE.c.dead_lettered_at).limit(limit)
        for condition in (is_not_blocked, has_no_consumer)
    )
    return [DeadLetter(*row) for each in selects for row in await session.execute(each)]


async def blocked_keys(
    session: AsyncSession, *, wanted: DeadLetterFilter, limit: int | None = None
) -> list[Replayable]:
    """List the keys that a selected dead letter blocks, the longest blocked first."""
    selected = sa.select(*_CONSUMER_KEY).where(sa.text(BLOCKING), *_conditions(wanted))
    rows = await session.execute(
        sa.select(*_CONSUMER_KEY, sa.func.count())
        .where(sa.text(BLOCKING), sa.tuple_(*_CONSUMER_KEY).in_(selected))
        .group_by(*_CONSUMER_KEY)
        .order_by(sa.func.min(_TABLE.c.id))
        .limit(limit)
    )
    counts = {ConsumerKey(consumer, topic, key): count for consumer, topic, key, count in rows}
    return await _with_firsts(session, counts)


async def blocked_keys_after(
    session: AsyncSession, *, wanted: DeadLetterFilter, after: ConsumerKey | None, limit: int
) -> list[Replayable]:
    """List the keys that have a selected dead letter in the order of the keys, those after a key, at most `limit`."""
    query = (
        sa.select(*_CONSUMER_KEY)
        .where(sa.text(BLOCKING), *_conditions(wanted))
        .distinct()
        .order_by(*_CONSUMER_KEY)
        .limit(limit)
    )
    if after is not None:
        query = query.where(sa.tuple_(*_CONSUMER_KEY) > sa.tuple_(*after))
    keys = [ConsumerKey(*row) for row in await session.execute(query)]
    rows = await session.execute(
        sa.select(*_CONSUMER_KEY, sa.func.count())
        .where(sa.text(BLOCKING), sa.tuple_(*_CONSUMER_KEY).in_(sa.select(_key_rows(keys))))
        .group_by(*_CONSUMER_KEY)
        .order_by(*_CONSUMER_KEY)
    )
    return await _with_firsts(session, {ConsumerKey(*columns): count for *columns, count in rows})


async def _with_firsts(session: AsyncSession, counts: Mapping[ConsumerKey, int]) -> list[Replayable]:
    firsts = await _first_dead_letters(session, counts.keys())
    # A key that was resolved since the first query is no longer blocked.
    return [Replayable(key, count, firsts[key]) for key, count in counts.items() if key in firsts]


async def _first_dead_letters(session: AsyncSession, keys: Collection[ConsumerKey]) -> dict[ConsumerKey, DeadLetter]:
    blocked = _key_rows(keys)
    rows = await session.execute(
        sa.select(*_DEAD_LETTER)
        .ext(distinct_on(*_CONSUMER_KEY))
        .where(
            sa.text(BLOCKING),
            sa.tuple_(*_CONSUMER_KEY).in_(sa.select(blocked)),
        )
        .order_by(*_CONSUMER_KEY, _TABLE.c.id)
    )
    return {first.consumer_key: first for first in (DeadLetter(*row) for row in rows)}


def _key_rows(keys: Collection[ConsumerKey]) -> sa.TableValuedAlias:
    columns = {name: ([getattr(key, name) for key in keys], sa.Text) for name in ConsumerKey._fields}
    return array_rows("blocked", **columns)


def _conditions(wanted: DeadLetterFilter) -> list[sa.ColumnElement[bool]]:
    values = {
        _TABLE.c.consumer: wanted.consumer,
        _TABLE.c.key: wanted.key,
        _TABLE.c.type: wanted.type,
        _TABLE.c.reason: wanted.reason.value if wanted.reason else None,
        _TABLE.c.id: wanted.id,
    }
    return [
        _TABLE.c.resolution.is_(None),
        *(column == value for column, value in values.items() if value is not None),
    ]

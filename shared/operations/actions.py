"""The record of who did what: the actions of operators on a service's data, from the tables that have them."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import orjson
import sqlalchemy as sa
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncSession

from shared.http.bodies import ResponseBody
from shared.http.pagination import CursorInvalid
from shared.http.spellings import in_utc


class ActionView(ResponseBody):
    """An action of an operator."""

    acted_at: datetime
    subject: str = Field(
        description="The kind of what it acted on: `dead_letter`, `position`, `job`, `operation` (a resend, a"
        " republication, more partitions), `streams` (a restored database), `delivery`, `credit`.",
        examples=["dead_letter"],
    )
    subject_id: str = Field(examples=["17"])
    action: str = Field(examples=["discard"])
    actor: str = Field(description="A user's id, or the operator who ran the command.", examples=["ada@ops-1"])
    outcome: str | None = Field(description="Null if the action has no other outcome than done.", examples=["done"])
    note: str | None = Field(description="The operator's reason.", examples=["a test order"])


@dataclass(frozen=True)
class ActionSource:
    """A table that records actions. `time` and `id` are in one order, and an index serves it."""

    subject: str
    time: sa.ColumnElement[datetime]
    id: sa.ColumnElement[Any]
    columns: tuple[sa.ColumnElement[Any], ...]
    """Expressions for subject_id, action, actor, outcome and note."""
    condition: sa.ColumnElement[bool] | None = None
    has_time_index: bool = True
    """Whether an index begins with the time; else one has the id, in the same order."""

    def newest(self, place: "_Place | None", *, limit: int) -> sa.Select[*tuple[Any, ...]]:
        """Select at most `limit` actions after a place in the list of all sources."""
        order = (self.time.desc(), self.id.desc()) if self.has_time_index else (self.id.desc(),)
        query = sa.select(self.time, self.id, *self.columns).order_by(*order).limit(limit)
        if self.condition is not None:
            query = query.where(self.condition)
        if place is None:
            return query
        if self.subject == place.subject:
            id_ = sa.literal(place.id_as(self.id.type.python_type), self.id.type)
            after = sa.or_(self.time < place.time, self.id < id_)
            return query.where(self.time <= place.time, after)
        return query.where(self.time < place.time if self.subject > place.subject else self.time <= place.time)


class _Place(NamedTuple):
    """The place in the list after which a page begins. Actions of one moment are ordered by subject, then by id."""

    time: datetime
    subject: str
    id: str

    @classmethod
    def of(cls, cursor: str) -> "_Place":
        """Parse a cursor. Raises: CursorInvalid."""
        try:
            text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
            time, subject, id_ = orjson.loads(text)
            at = datetime.fromisoformat(time)
        except (ValueError, TypeError) as error:
            raise CursorInvalid from error
        if at.tzinfo is None:
            raise CursorInvalid
        return cls(in_utc(at), str(subject), str(id_))

    @property
    def cursor(self) -> str:
        """The text that names it."""
        text = orjson.dumps([self.time.isoformat(), self.subject, self.id])
        return base64.urlsafe_b64encode(text).decode().rstrip("=")

    def id_as(self, type_: type) -> int | UUID:
        """Return the id as its table has it. Raises: CursorInvalid."""
        try:
            if type_ is UUID:
                return UUID(self.id)
            return max(-(2**63), min(int(self.id), 2**63 - 1))
        except ValueError as error:
            raise CursorInvalid from error


def _columns(**types: type[sa.types.TypeEngine[Any]]) -> list[sa.ColumnClause[Any]]:
    return [sa.column(name, type_) for name, type_ in types.items()]


_TIME = sa.DateTime(timezone=True)
_dead_letter = sa.table(
    "dead_letter_action",
    *_columns(id=sa.BigInteger, dead_letter_id=sa.BigInteger, action=sa.Text, actor=sa.Text, outcome=sa.Text),
    sa.column("detail", sa.Text),
    sa.column("acted_at", _TIME),
)
_position = sa.table(
    "position_action",
    *_columns(id=sa.BigInteger, consumer=sa.Text, key=sa.Text, actor=sa.Text, note=sa.Text),
    sa.column("acted_at", _TIME),
)
_job = sa.table(
    "job_action",
    *_columns(id=sa.BigInteger, job_id=sa.BigInteger, action=sa.Text, actor=sa.Text, note=sa.Text),
    sa.column("acted_at", _TIME),
)
_operation = sa.table(
    "operation",
    *_columns(id=sa.Uuid, kind=sa.Text, actor=sa.Text, status=sa.Text),
    sa.column("started_at", _TIME),
)
_generation = sa.table(
    "stream_generation",
    *_columns(generation=sa.BigInteger, actor=sa.Text, note=sa.Text),
    sa.column("raised_at", _TIME),
)
_NOTHING = sa.null()

SHARED_SOURCES = (
    ActionSource(
        "dead_letter",
        _dead_letter.c.acted_at,
        _dead_letter.c.id,
        (
            sa.cast(_dead_letter.c.dead_letter_id, sa.Text),
            *(_dead_letter.c[name] for name in ("action", "actor", "outcome", "detail")),
        ),
        # As the index has it.
        condition=sa.text("actor <> 'drain'"),  # type: ignore[arg-type]  # a condition as text
    ),
    ActionSource(
        "position",
        _position.c.acted_at,
        _position.c.id,
        (
            _position.c.consumer + "/" + _position.c.key,
            sa.literal("reset", literal_execute=True),
            _position.c.actor,
            _NOTHING,
            _position.c.note,
        ),
    ),
    ActionSource(
        "job",
        _job.c.acted_at,
        _job.c.id,
        (sa.cast(_job.c.job_id, sa.Text), _job.c.action, _job.c.actor, _NOTHING, _job.c.note),
    ),
    ActionSource(
        "operation",
        _operation.c.started_at,
        _operation.c.id,
        (sa.cast(_operation.c.id, sa.Text), _operation.c.kind, _operation.c.actor, _operation.c.status, _NOTHING),
    ),
    ActionSource(
        "streams",
        _generation.c.raised_at,
        _generation.c.generation,
        (
            sa.cast(_generation.c.generation, sa.Text),
            sa.literal("recover", literal_execute=True),
            _generation.c.actor,
            _NOTHING,
            _generation.c.note,
        ),
        has_time_index=False,
    ),
)
"""The tables that every service has."""


class ActionPage(NamedTuple):
    """A page of actions, newest first, and the cursor of the next one."""

    actions: list[ActionView]
    next_cursor: str | None


async def list_actions(
    session: AsyncSession, sources: Sequence[ActionSource], *, cursor: str | None, limit: int
) -> ActionPage:
    """Return a page of the actions that all sources record, newest first. Raises: CursorInvalid."""
    place = None if cursor is None else _Place.of(cursor)
    found: list[tuple[datetime, str, Any, Sequence[Any]]] = []
    for source in sources:
        rows = await session.execute(source.newest(place, limit=limit + 1))
        found += [(row[0], source.subject, row[1], row[2:]) for row in rows]
    found.sort(key=lambda each: each[:3], reverse=True)
    page = found[:limit]
    views = [
        ActionView(
            acted_at=time,
            subject=subject,
            **dict(zip(("subject_id", "action", "actor", "outcome", "note"), rest, strict=True)),
        )
        for time, subject, _, rest in page
    ]
    if len(found) <= limit:
        return ActionPage(views, None)
    time, subject, id_, _ = page[-1]
    return ActionPage(views, _Place(time, subject, str(id_)).cursor)

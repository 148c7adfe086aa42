"""The events that a service has recorded, newest first: those that wait in the outbox, then those that were sent."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from shared.events.topics import TOPICS
from shared.http.pagination import CursorInvalid
from shared.messaging.outbox.outbox import SHARDS
from shared.messaging.storage.daily_partitions import DAYS_AHEAD, SENT_RETENTION
from shared.operations.events import SENT, WAITING, EventView, RecordedEvent, event_view

SCAN_ROWS = 5_000
"""Upper bound of events that a statement reads to fill one page of a filtered list."""
_CURSOR = re.compile(r"w-(?P<waiting>[0-9]{1,18})|s-(?P<day>[0-9]{8})-(?P<sent>[0-9]{1,18})")
_MAX_ID = 2**63 - 1

# Each reads a bounded number of rows, of which the filter selects some, and tells where the reading has ended.
_PAGE = """
    WITH scanned AS MATERIALIZED ({scanned})
    SELECT ended.rows, ended.last_day, ended.last_id, found.*
    FROM (
        SELECT count(*) AS rows, (array_agg(day ORDER BY {order}))[count(*)] AS last_day,
               (array_agg(id ORDER BY {order}))[count(*)] AS last_id
        FROM scanned
    ) AS ended
    LEFT JOIN LATERAL (
        SELECT * FROM scanned
        WHERE (CAST(:topic AS text) IS NULL OR topic = :topic) AND (CAST(:type AS text) IS NULL OR type = :type)
        ORDER BY {order} LIMIT :limit
    ) AS found ON true
"""
_WAITING_PAGE = sa.text(
    _PAGE.format(
        order="id DESC",
        scanned=f"""
        SELECT w.* FROM generate_series(0, :shards - 1) AS s, LATERAL (
            SELECT {WAITING} FROM outbox WHERE shard = s AND id < :before ORDER BY id DESC LIMIT :scan
        ) AS w ORDER BY id DESC LIMIT :scan
        """,  # noqa: S608 - constants
    )
)
_WAITING_OF_KEY = sa.text(
    _PAGE.format(
        order="id DESC",
        scanned=f"""
        SELECT {WAITING} FROM outbox WHERE topic = ANY(:topics) AND key = :key AND id < :before
        ORDER BY id DESC LIMIT :scan
        """,  # noqa: S608 - constants
    )
)
_SENT_CONDITION = "day >= :first_day AND day <= :before_day AND (day, id) < (:before_day, :before)"
_SENT_PAGE = sa.text(
    _PAGE.format(
        order="day DESC, id DESC",
        scanned=f"""
        SELECT {SENT} FROM outbox_sent WHERE {_SENT_CONDITION} ORDER BY day DESC, id DESC LIMIT :scan
        """,  # noqa: S608 - constants
    )
)
_SENT_OF_KEY = sa.text(
    _PAGE.format(
        order="day DESC, id DESC",
        scanned=f"""
        SELECT {SENT} FROM outbox_sent WHERE key = :key AND {_SENT_CONDITION}
        ORDER BY day DESC, id DESC LIMIT :scan
        """,  # noqa: S608 - constants
    )
)


@dataclass(frozen=True)
class EventFilter:
    """A filter of recorded events; None selects any."""

    topic: str | None = None
    key: str | None = None
    type: str | None = None

    @property
    def topics(self) -> list[str]:
        """The topics that it selects."""
        return [self.topic] if self.topic is not None else [topic.name for topic in TOPICS]


@dataclass(frozen=True)
class _Place:
    """The place in the list after which a page begins: first the waiting events, then the sent ones."""

    is_sent: bool = False
    day: date = date.max
    id: int = _MAX_ID

    @classmethod
    def of(cls, cursor: str | None) -> "_Place":
        """Parse a cursor. Raises: CursorInvalid."""
        if cursor is None:
            return cls()
        match = _CURSOR.fullmatch(cursor)
        if match is None:
            raise CursorInvalid
        if match["waiting"] is not None:
            return cls(id=int(match["waiting"]))
        try:
            return cls(is_sent=True, day=date.fromisoformat(match["day"]), id=int(match["sent"]))
        except ValueError:
            raise CursorInvalid from None

    @property
    def cursor(self) -> str:
        """The text that names it."""
        return f"s-{self.day:%Y%m%d}-{self.id}" if self.is_sent else f"w-{self.id}"


class EventPage(NamedTuple):
    """A page of recorded events, newest first, and the cursor of the next one."""

    events: list[EventView]
    next_cursor: str | None


async def list_events(session: AsyncSession, wanted: EventFilter, *, cursor: str | None, limit: int) -> EventPage:
    """Return a page of the service's events, newest first: those that wait, then those that were sent.

    A page may be short although more events follow: a filter reads at most SCAN_ROWS events. Raises: CursorInvalid.
    """
    place = _Place.of(cursor)
    today = datetime.now(UTC).date()
    scan = limit if wanted == EventFilter() else SCAN_ROWS
    parameters: dict[str, Any] = {"topic": wanted.topic, "type": wanted.type, "scan": scan}
    found: list[RecordedEvent] = []
    if not place.is_sent:
        statement = _WAITING_PAGE if wanted.key is None else _WAITING_OF_KEY
        more = {"before": place.id, **({"shards": SHARDS} if wanted.key is None else _key_of(wanted))}
        found, next_place = await _page(session, statement, {**parameters, **more, "limit": limit}, place)
        if next_place is not None:
            return _page_of(found, next_place)
        place = replace(_Place(is_sent=True), day=today + timedelta(days=DAYS_AHEAD))
    statement = _SENT_PAGE if wanted.key is None else _SENT_OF_KEY
    days = {"first_day": today - SENT_RETENTION - timedelta(days=2), "before_day": place.day, "before": place.id}
    more = {**days, **({"key": wanted.key} if wanted.key is not None else {})}
    sent, next_place = await _page(session, statement, {**parameters, **more, "limit": limit - len(found)}, place)
    return _page_of([*found, *sent], next_place)


def _key_of(wanted: EventFilter) -> dict[str, Any]:
    return {"key": wanted.key, "topics": wanted.topics}


async def _page(
    session: AsyncSession, statement: sa.TextClause, parameters: dict[str, Any], place: _Place
) -> tuple[list[RecordedEvent], _Place | None]:
    """Return what a statement finds, and the place after it; None if it has read the last event of its kind."""
    rows = (await session.execute(statement, parameters)).all()
    read, last_day, last_id = rows[0][:3]
    found = [RecordedEvent(*row[3:]) for row in rows if row[3] is not None]
    if len(found) == parameters["limit"]:
        return found, _Place(place.is_sent, found[-1].day or date.max, found[-1].id)
    if read < parameters["scan"]:
        return found, None
    return found, _Place(place.is_sent, last_day or date.max, last_id)


def _page_of(events: Sequence[RecordedEvent], place: _Place | None) -> EventPage:
    return EventPage([event_view(each) for each in events], place.cursor if place else None)

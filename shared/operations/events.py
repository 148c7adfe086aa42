"""Events as operators look them up by id: those that a service has recorded, and those that it has received."""

from collections.abc import Collection
from datetime import date, datetime, timedelta
from typing import Any, Literal, NamedTuple
from uuid import UUID

import orjson
import sqlalchemy as sa
from pydantic import Field, JsonValue
from sqlalchemy.ext.asyncio import AsyncSession

from shared.errors import NotFound
from shared.http.bodies import ResponseBody
from shared.messaging.dead_letters.reason import NOT_BLOCKING
from shared.messaging.envelope import day_of
from shared.telemetry import trace_id_of

MAX_DEAD_LETTERS = 20

_COLUMNS = "event_id, topic, key, sequence, type, occurred_at, traceparent, payload"
WAITING = f"""
    'waiting' AS state, id, CAST(NULL AS date) AS day, {_COLUMNS}, CAST(NULL AS timestamptz) AS sent_at,
    CAST(NULL AS integer) AS partition, CAST(NULL AS bigint) AS "offset"
"""
"""The columns of RecordedEvent, of the outbox."""
SENT = f"'sent' AS state, id, day, {_COLUMNS}, sent_at, partition, \"offset\""
"""The columns of RecordedEvent, of sent events."""

# An id tells the day of its event, and no event is sent before that: earlier partitions are not read.
_FIND = sa.text(f"""
    SELECT {WAITING} FROM outbox WHERE event_id = :event_id
    UNION ALL
    SELECT {SENT} FROM outbox_sent WHERE event_id = :event_id AND day >= :first_day
    LIMIT 1
""")  # noqa: S608 - constants
_DEAD_LETTERS = sa.text("""
    SELECT id, consumer, topic, key, type, sequence, partition, "offset", reason, resolution, payload,
           headers->>'traceparent' AS traceparent
    FROM dead_letter WHERE event_id = :event_id ORDER BY id LIMIT :limit
""")
_SEEN = sa.text("""
    SELECT consumer FROM inbox WHERE consumer = ANY(:consumers) AND day = :day AND event_id = :event_id
    ORDER BY consumer
""")


class EventNotFound(NotFound):
    """The service has neither recorded nor received this event, or no longer keeps it."""

    code = "event_not_found"


class EventView(ResponseBody):
    """An event that a service has recorded, or has received from another one."""

    event_id: UUID
    state: Literal["waiting", "sent", "dead_letter", "applied"] = Field(
        description="`waiting`: recorded, not in Kafka yet. `sent`: recorded and in Kafka. `dead_letter`: received, and"
        " not applied. `applied`: received and applied."
    )
    type: str | None = Field(
        description="Null, as all that follows, if the service only keeps that it has applied it.",
        examples=["order.created"],
    )
    topic: str | None = Field(examples=["orders"])
    key: str | None = Field(examples=["0199a6e2-7c1e-7b7c-8a55-0d6b8f4f2c11"])
    sequence: int | None = Field(description="The event's number among the events of its key.", examples=[1])
    recorded_at: datetime | None
    sent_at: datetime | None = Field(description="Time at which Kafka's acknowledgement was noted.")
    partition: int | None = Field(description="The Kafka partition.", examples=[3])
    offset: int | None = Field(description="The Kafka offset.", examples=[1042])
    trace_id: str | None = Field(examples=["4bf92f3577b34da6a3ce929d0e0e4736"])
    data: dict[str, JsonValue] | None = Field(
        description="The event's data; personal data are sealed in it.", examples=[{"number": "O-2K7WQ9X3"}]
    )
    applied_by: list[str] = Field(description="Consumers of this service that have applied it.", examples=[[]])
    dead_letter_ids: list[int] = Field(description="Dead letters of this service that have it.", examples=[[]])


class RecordedEvent(NamedTuple):
    """A row of the outbox, waiting or sent."""

    state: Literal["waiting", "sent"]
    id: int
    day: date | None
    event_id: UUID
    topic: str
    key: str
    sequence: int
    type: str
    occurred_at: datetime
    traceparent: str | None
    payload: bytes
    sent_at: datetime | None
    partition: int | None
    offset: int | None

    @property
    def trace_id(self) -> str | None:
        """The trace in which it was recorded."""
        return trace_id_of(self.traceparent)


async def find_event(session: AsyncSession, event_id: UUID, *, consumers: Collection[str]) -> EventView:
    """Return an event that the service has recorded, or one of its consumers has received. Raises: EventNotFound."""
    try:
        day = day_of(event_id)
    except ValueError:
        raise EventNotFound from None
    # Clocks differ: the database may have stored it under the day before.
    parameters = {"event_id": event_id, "first_day": day - timedelta(days=1)}
    row = (await session.execute(_FIND, parameters)).one_or_none()
    dead_letters = (await session.execute(_DEAD_LETTERS, {"event_id": event_id, "limit": MAX_DEAD_LETTERS})).all()
    seen = await session.scalars(_SEEN, {"consumers": list(consumers), "day": day, "event_id": event_id})
    not_applied = {each.consumer for each in dead_letters if each.resolution != "replayed"}
    applied_by = [consumer for consumer in seen if consumer not in not_applied]
    if row is not None:
        found = event_view(RecordedEvent(*row))
    elif dead_letters:
        found = _view_of_dead_letter(event_id, dead_letters[0], is_applied=not not_applied)
    elif applied_by:
        found = _unknown(event_id)
    else:
        raise EventNotFound
    return found.model_copy(update={"applied_by": applied_by, "dead_letter_ids": [each.id for each in dead_letters]})


def event_view(event: RecordedEvent) -> EventView:
    """Return the view of an event of the outbox."""
    return EventView(
        event_id=event.event_id,
        state=event.state,
        type=event.type,
        topic=event.topic,
        key=event.key,
        sequence=event.sequence,
        recorded_at=event.occurred_at,
        sent_at=event.sent_at,
        partition=event.partition,
        offset=event.offset,
        trace_id=event.trace_id,
        data=_data_of(event.payload),
        applied_by=[],
        dead_letter_ids=[],
    )


def _view_of_dead_letter(event_id: UUID, row: sa.Row[Any], *, is_applied: bool) -> EventView:
    view = _unknown(event_id)
    # The records of strangers may hold anything.
    is_ours = row.reason not in {reason.value for reason in NOT_BLOCKING}
    return view.model_copy(
        update={
            "state": "applied" if is_applied else "dead_letter",
            **{name: getattr(row, name) for name in ("type", "topic", "key", "sequence", "partition", "offset")},
            "trace_id": trace_id_of(row.traceparent),
            "data": _data_of(row.payload) if is_ours else None,
        }
    )


def _unknown(event_id: UUID) -> EventView:
    """Return the view of an event of which only the id is kept: it was applied."""
    nothing = dict.fromkeys(EventView.model_fields)
    return EventView.model_validate(
        {**nothing, "event_id": event_id, "state": "applied", "applied_by": [], "dead_letter_ids": []}
    )


def _data_of(payload: bytes) -> dict[str, JsonValue] | None:
    """Return the data of an event; None if they are no JSON object."""
    try:
        data = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return None
    return data if isinstance(data, dict) else None

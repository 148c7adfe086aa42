"""An event on the wire: CloudEvents 1.0 in Kafka's binary binding, both ways."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from uuid import UUID

from aiokafka import ConsumerRecord

Headers = list[tuple[str, bytes]]


@dataclass(frozen=True)
class EventContext:
    """What the envelope says of an event; handlers get it beside the data."""

    event_id: UUID
    type: str
    source: str
    time: datetime
    topic: str
    key: str
    sequence: int
    traceparent: str | None
    tracestate: str | None

    @property
    def day(self) -> date:
        """The UTC day in the UUIDv7: the partition of the inbox that the id belongs to."""
        return day_of(self.event_id)


@dataclass(frozen=True)
class Received:
    """One Kafka record as it came: `context` is None when the envelope could not be read, and `error` says why."""

    topic: str
    partition: int
    offset: int
    key: str
    value: bytes
    headers: Mapping[str, str]
    context: EventContext | None
    error: str | None = field(default=None)


def day_of(event_id: UUID) -> date:
    """The UTC day on which a UUIDv7 was made. Raises: ValueError for any other version."""
    if event_id.version != 7:
        raise ValueError(f"{event_id} is not a UUIDv7")
    return datetime.fromtimestamp((event_id.int >> 80) / 1000, UTC).date()


def encode_headers(
    *,
    event_id: UUID,
    event_type: str,
    source: str,
    dataschema: str,
    occurred_at: datetime,
    key: str,
    sequence: int,
    traceparent: str | None,
    tracestate: str | None,
) -> Headers:
    """The record's headers; the value is the data alone."""
    attributes = {
        "ce_specversion": "1.0",
        "ce_id": str(event_id),
        "ce_source": source,
        "ce_type": event_type,
        "ce_time": occurred_at.isoformat(),
        "ce_subject": key,
        "ce_dataschema": dataschema,
        "ce_sequence": str(sequence),
        "content-type": "application/json",
        "traceparent": traceparent,
        "tracestate": tracestate,
    }
    return [(name, value.encode()) for name, value in attributes.items() if value is not None]


def read_record(record: "ConsumerRecord[bytes | None, bytes | None]") -> Received:
    """Read one record; whatever is wrong with it is said in the result, never raised."""
    return received_of(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        key=_text(record.key or b""),
        value=record.value or b"",
        headers={_text(name.encode()): _text(value) for name, value in record.headers},
    )


def received_of(
    *, topic: str, partition: int, offset: int, key: str, value: bytes, headers: Mapping[str, str]
) -> Received:
    """Read the envelope of what came, or was parked; never raises."""
    context, error = None, None
    try:
        context = _context(headers, topic=topic, key=key)
    except KeyError as missing:
        error = f"the header {missing.args[0]} is missing"
    except ValueError as invalid:
        error = str(invalid)
    return Received(
        topic=topic,
        partition=partition,
        offset=offset,
        key=key,
        value=value,
        headers=headers,
        context=context,
        error=error,
    )


def read_records(records: "Sequence[ConsumerRecord[bytes | None, bytes | None]]") -> list[Received]:
    """Read a batch, in its order."""
    return [read_record(record) for record in records]


def _text(raw: bytes) -> str:
    """Never raises; NUL is escaped too, since PostgreSQL's text can't hold it."""
    return raw.decode("utf-8", "backslashreplace").replace("\x00", "\\x00")


def _context(headers: Mapping[str, str], *, topic: str, key: str) -> EventContext:
    if headers["ce_specversion"] != "1.0":
        raise ValueError(f"CloudEvents {headers['ce_specversion']} is not understood")
    event_id = UUID(headers["ce_id"])
    day_of(event_id)
    sequence = int(headers["ce_sequence"])
    if sequence < 1:
        raise ValueError(f"the sequence {sequence} is not positive")
    time = datetime.fromisoformat(headers["ce_time"])
    if time.tzinfo is None:
        raise ValueError(f"the time {headers['ce_time']} has no zone")
    return EventContext(
        event_id=event_id,
        type=headers["ce_type"],
        source=headers["ce_source"],
        time=time,
        topic=topic,
        key=key,
        sequence=sequence,
        traceparent=headers.get("traceparent"),
        tracestate=headers.get("tracestate"),
    )

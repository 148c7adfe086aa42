"""An event on the wire: CloudEvents 1.0 in Kafka's binary binding, both ways."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import NamedTuple
from uuid import UUID

from aiokafka import ConsumerRecord
from asyncpg.pgproto import pgproto

Headers = list[tuple[str, bytes]]

_EPOCH = date(1970, 1, 1).toordinal()
_DAY_MILLISECONDS = 86_400_000


class EventContext(NamedTuple):
    """What the envelope says of an event; handlers get it beside the data."""

    event_id: UUID
    day: date
    """The UTC day in the UUIDv7: the partition of the inbox that the id belongs to."""
    type: str
    source: str
    time: datetime
    topic: str
    key: str
    sequence: int
    traceparent: str | None
    tracestate: str | None


class Received(NamedTuple):
    """One Kafka record as it came: `context` is None when the envelope could not be read, and `error` says why."""

    topic: str
    partition: int
    offset: int
    key: str
    value: bytes
    headers: Mapping[str, str]
    context: EventContext | None
    error: str | None = None


def day_of(event_id: UUID) -> date:
    """The UTC day on which a UUIDv7 was made. Raises: ValueError for any other version."""
    bits = event_id.int
    # Its version and its variant; the properties of those names take five times as long, for each event that comes.
    if bits >> 76 & 0xF != 7 or bits >> 62 & 0b11 != 0b10:
        raise ValueError(f"{event_id} is not a UUIDv7")
    return date.fromordinal(_EPOCH + (bits >> 80) // _DAY_MILLISECONDS)


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
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", str(event_id).encode()),
        ("ce_source", source.encode()),
        ("ce_type", event_type.encode()),
        ("ce_time", occurred_at.isoformat().encode()),
        ("ce_subject", key.encode()),
        ("ce_dataschema", dataschema.encode()),
        ("ce_sequence", b"%d" % sequence),
        ("content-type", b"application/json"),
    ]
    if traceparent is not None:
        headers.append(("traceparent", traceparent.encode()))
    if tracestate is not None:
        headers.append(("tracestate", tracestate.encode()))
    return headers


def read_record(record: "ConsumerRecord[bytes | None, bytes | None]") -> Received:
    """Read one record; whatever is wrong with it is said in the result, never raised."""
    return received_of(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        key=_text(record.key or b""),
        value=record.value or b"",
        headers=_headers_of(record.headers),
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


def _headers_of(raw: "Sequence[tuple[str, bytes | None]]") -> dict[str, str]:
    """Never raises. Nearly all are plain, and reading them is most of what reading a record takes."""
    try:
        headers = {name: value.decode() for name, value in raw}  # type: ignore[union-attr]  # see the except
    except (UnicodeDecodeError, AttributeError):  # a header may also be null
        return {_escaped(name): _text(value or b"") for name, value in raw}
    if "\x00" in "".join([*headers, *headers.values()]):
        return {_escaped(name): _escaped(value) for name, value in headers.items()}
    return headers


def _text(raw: bytes) -> str:
    """Never raises."""
    return _escaped(raw.decode("utf-8", "backslashreplace"))


def _escaped(text: str) -> str:
    """Without NUL, which PostgreSQL's text can't hold."""
    return text.replace("\x00", "\\x00")


def _context(headers: Mapping[str, str], *, topic: str, key: str) -> EventContext:
    if headers["ce_specversion"] != "1.0":
        raise ValueError(f"CloudEvents {headers['ce_specversion']} is not understood")
    # A uuid.UUID, but read, hashed and sent to the database in C.
    event_id = pgproto.UUID(headers["ce_id"])
    day = day_of(event_id)
    sequence = int(headers["ce_sequence"])
    if sequence < 1:
        raise ValueError(f"the sequence {sequence} is not positive")
    time = datetime.fromisoformat(headers["ce_time"])
    if time.tzinfo is None:
        raise ValueError(f"the time {headers['ce_time']} has no zone")
    return EventContext(
        event_id=event_id,
        day=day,
        type=headers["ce_type"],
        source=headers["ce_source"],
        time=time,
        topic=topic,
        key=key,
        sequence=sequence,
        traceparent=headers.get("traceparent"),
        tracestate=headers.get("tracestate"),
    )

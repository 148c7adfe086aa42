"""An event on the wire: CloudEvents 1.0 in Kafka's binary binding, both ways."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from hashlib import sha256
from typing import NamedTuple, TypeAlias
from uuid import UUID

from aiokafka import ConsumerRecord
from asyncpg.pgproto import pgproto

Headers = list[tuple[str, bytes]]
Record: TypeAlias = "ConsumerRecord[bytes | None, bytes | None]"
RawHeaders = Mapping[str, bytes | None]
"""As they came; of a name that is there more than once, the last."""

MAX_KEY_LENGTH = 250
"""In characters. A longer one is cut, and its digest added: an index of PostgreSQL's holds 2,700 bytes a row."""
_MAX_ERROR_LENGTH = 500
_MAX_SEQUENCE = 2**63 - 1

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
    headers: RawHeaders
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


def received_of(*, topic: str, partition: int, offset: int, key: str, value: bytes, headers: RawHeaders) -> Received:
    """Read the envelope of what came, or was parked; never raises."""
    context, error = None, None
    try:
        context = _context(headers, topic=topic, key=key)
    except KeyError as missing:
        error = f"the header {missing.args[0]} is missing"
    except ValueError as invalid:
        error = str(invalid)[:_MAX_ERROR_LENGTH]
    # By place: it is made for each event that comes.
    return Received(topic, partition, offset, key, value, headers, context, error)


def read_records(records: Sequence[Record]) -> list[Received]:
    """Read a batch, in its order; whatever is wrong with a record is said in the result, never raised."""
    return [_received(record) for record in records]


def _received(record: Record) -> Received:
    return received_of(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        key=_key(record.key),
        value=record.value or b"",
        headers=dict(record.headers),
    )


def _key(raw: bytes | None) -> str:
    text = _text(raw)
    if len(text) <= MAX_KEY_LENGTH:
        return text
    ending = f"...sha256:{sha256(raw or b'').hexdigest()}"
    return text[: MAX_KEY_LENGTH - len(ending)] + ending


def headers_as_text(headers: RawHeaders) -> dict[str, str]:
    """For people and for PostgreSQL; never raises. What is no plain text is escaped."""
    return {_escaped(name): _text(value) for name, value in headers.items()}


def headers_from_text(headers: Mapping[str, str]) -> RawHeaders:
    """As `headers_as_text` gave them."""
    return {name: value.encode() for name, value in headers.items()}


def _text(raw: bytes | None) -> str:
    """Never raises."""
    return _escaped((raw or b"").decode("utf-8", "backslashreplace"))


def _escaped(text: str) -> str:
    """Without NUL, which PostgreSQL's text can't hold."""
    return text.replace("\x00", "\\x00")


def _context(headers: RawHeaders, *, topic: str, key: str) -> EventContext:
    if headers["ce_specversion"] != b"1.0":
        raise ValueError(f"CloudEvents {_text(headers['ce_specversion'])} is not understood")
    # A uuid.UUID, but read, hashed and sent to the database in C.
    event_id = pgproto.UUID(_text(headers["ce_id"]))
    sequence = int(_text(headers["ce_sequence"]))
    if not 1 <= sequence <= _MAX_SEQUENCE:
        raise ValueError(f"the sequence {sequence} is not from 1 to 2**63 - 1")
    time = datetime.fromisoformat(_text(headers["ce_time"]))
    if time.tzinfo is None:
        raise ValueError(f"the time {time} has no zone")
    traceparent, tracestate = headers.get("traceparent"), headers.get("tracestate")
    return EventContext(
        event_id,
        day_of(event_id),
        _text(headers["ce_type"]),
        _text(headers["ce_source"]),
        time,
        topic,
        key,
        sequence,
        _text(traceparent) if traceparent else None,
        _text(tracestate) if tracestate else None,
    )

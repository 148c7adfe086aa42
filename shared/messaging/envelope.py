"""The wire format of events, encoded and decoded: CloudEvents 1.0 in Kafka's binary content mode."""

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
"""A record's headers. If a name occurs more than once, its last value counts."""

MAX_KEY_LENGTH = 250
"""Characters. A longer key is cut and gets a digest: a PostgreSQL index holds at most 2,700 bytes per entry."""
MAX_SEQUENCE = 2**63 - 1

_EPOCH = date(1970, 1, 1).toordinal()
_DAY_MILLISECONDS = 86_400_000


class EventContext(NamedTuple):
    """An event's metadata from its envelope. Handlers get it together with the data."""

    event_id: UUID
    day: date
    """The UTC day in the UUIDv7, which selects the inbox's daily partition."""
    type: str
    source: str
    time: datetime
    topic: str
    key: str
    sequence: int
    traceparent: str | None
    tracestate: str | None


Place: TypeAlias = tuple[int, int]
"""A record's partition and offset, which name it within its topic."""


class Received(NamedTuple):
    """A Kafka record with its decoded envelope. If that was not possible, `context` is None and `error` says why."""

    topic: str
    partition: int
    offset: int
    key: str
    value: bytes
    headers: RawHeaders
    context: EventContext | None
    error: str | None = None

    @property
    def place(self) -> Place:
        """The record's partition and offset."""
        return self.partition, self.offset


def day_of(event_id: UUID) -> date:
    """Return the UTC day on which a UUIDv7 was created. Raises: ValueError for any other version."""
    bits = event_id.int
    # Version and variant. UUID's properties of these names take five times as long, and this runs for every event.
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
    """Return the headers of an event's record. The record's value holds only the data."""
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
    """Decode the envelope of a record, or of a stored dead letter; never raises."""
    context, error = None, None
    try:
        context = _context(headers, topic=topic, key=key)
    except KeyError as missing:
        error = f"the header {missing.args[0]} is missing"
    except _HeaderInvalid as invalid:
        error = str(invalid)
    # Positional arguments are faster, and this runs for every event.
    return Received(topic, partition, offset, key, value, headers, context, error)


def decode_records(records: Sequence[Record]) -> list[Received]:
    """Decode records in their order. Never raises: `Received.error` says what is wrong with a record."""
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


def without_nul(text: str) -> str:
    """Escape NUL, which PostgreSQL's text type cannot hold."""
    return text.replace("\x00", "\\x00")


def headers_as_text(headers: RawHeaders) -> dict[str, str]:
    """Return headers as text for people and PostgreSQL, with other bytes escaped; never raises."""
    return {without_nul(name): _text(value) for name, value in headers.items()}


def headers_from_text(headers: Mapping[str, str]) -> RawHeaders:
    """Return the headers that `headers_as_text` was called with; escaped bytes stay escaped."""
    return {name: value.encode() for name, value in headers.items()}


def _text(raw: bytes | None) -> str:
    """Decode bytes, with those that are not UTF-8 escaped; never raises."""
    return without_nul((raw or b"").decode("utf-8", "backslashreplace"))


class _HeaderInvalid(Exception):
    """A header's value can't be decoded. The message does not quote it: a producer may have put anything there."""

    def __init__(self, name: str, rule: str) -> None:
        super().__init__(f"the header {name} is not {rule}")


def _context(headers: RawHeaders, *, topic: str, key: str) -> EventContext:
    if headers["ce_specversion"] != b"1.0":
        raise _HeaderInvalid("ce_specversion", "1.0")
    event_id, day = _id_and_day(headers)
    event_type = _text(headers["ce_type"])
    if not event_type:
        raise _HeaderInvalid("ce_type", "a name")
    sequence, time = _sequence(headers), _time(headers)
    traceparent, tracestate = headers.get("traceparent"), headers.get("tracestate")
    return EventContext(
        event_id,
        day,
        event_type,
        _text(headers["ce_source"]),
        time,
        topic,
        key,
        sequence,
        _text(traceparent) if traceparent else None,
        _text(tracestate) if tracestate else None,
    )


def _id_and_day(headers: RawHeaders) -> tuple[UUID, date]:
    try:
        # A subclass of uuid.UUID that is parsed, hashed and sent to the database in C.
        event_id = pgproto.UUID(_text(headers["ce_id"]))
        return event_id, day_of(event_id)
    except ValueError:
        raise _HeaderInvalid("ce_id", "a UUIDv7") from None


def _sequence(headers: RawHeaders) -> int:
    try:
        sequence = int(_text(headers["ce_sequence"]))
    except ValueError:
        sequence = 0
    if not 1 <= sequence <= MAX_SEQUENCE:
        raise _HeaderInvalid("ce_sequence", "a number from 1 to 2**63 - 1")
    return sequence


def _time(headers: RawHeaders) -> datetime:
    try:
        time = datetime.fromisoformat(_text(headers["ce_time"]))
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise _HeaderInvalid("ce_time", "a time with a zone")
    return time

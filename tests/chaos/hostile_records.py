"""Hostile records, made from valid ones by chance: the records that a stranger might write to a service's topic."""

import asyncio
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import import_module
from itertools import count
from uuid import UUID

from aiokafka import AIOKafkaProducer

from shared.events.contract import EVENT_TYPES
from shared.events.golden import golden_examples
from shared.events.topics import topic_named
from shared.messaging.envelope import encode_headers
from shared.messaging.outbox.outbox import dataschema_of
from tests.architecture.source import SERVICES

for name in SERVICES:
    import_module(f"shared.events.{name}")

MAX_PENDING = 500
"""Records that are sent before the first of them is acknowledged."""
HOSTILE_KEYS = 200
"""Keys that hostile records share, beside those that occur once."""
_ODD_BYTES = (b"", b"\x00", b"\xff\xfe", b"a\x00b", "\u0436".encode() * 300, b" ", b"{}", b"null")
_ODD_JSON: Sequence[object] = (
    None,
    [],
    {},
    "",
    "\x00",
    "\ud7ff",
    -1,
    10**30,
    0.5,
    True,
    "x" * 5_000,
    [[[[]]]],
    {"a": {"b": None}},
)
_SEQUENCES = (b"0", b"-1", b"%d" % (2**63 - 1), b"%d" % 2**63, b"9" * 5_000, b"1e3", b"one", b" 7 ", b"7_0")
_TIMES = (b"0001-01-01T00:00:00+23:59", b"9999-12-31T23:59:59-23:59", b"2026-01-01T00:00:00", b"now", b"1" * 9_000)


@dataclass
class HostileRecord:
    """A Kafka record that need not be an event."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]

    def set(self, header: str, value: bytes | None) -> None:
        """Replace all values of a header by one."""
        self.remove(header)
        self.headers.append((header, value))

    def remove(self, header: str) -> None:
        """Remove all values of a header."""
        self.headers = [(name, value) for name, value in self.headers if name != header]


Mutation = Callable[[random.Random, HostileRecord], None]


class HostileRecords:
    """An endless series of hostile records for one topic, the same for the same seed but for ids and times.

    A record of an honest key is of another source, of an unknown type, or unreadable: whoever can write as the topic's
    producer can do anything to a key. All other records have keys of their own, and may be perfectly valid.
    """

    def __init__(
        self,
        topic: str,
        *,
        seed: int,
        honest_keys: Sequence[str] = (),
        honest_share: float = 0.4,
    ) -> None:
        """Let the fraction `honest_share` of the records name one of `honest_keys`."""
        self._rng = random.Random(f"{seed} {topic}")  # noqa: S311 - reproducible by its seed
        self._topic = topic_named(topic)
        self.partitions = self._topic.partitions
        self._examples = [
            (event, example)
            for event in EVENT_TYPES.values()
            if event.topic == topic
            for example in golden_examples(event.type)
        ]
        self._honest_keys = honest_keys
        self._honest_share = honest_share if honest_keys else 0.0
        self._hostile_keys = [str(self._uuid()) for _ in range(HOSTILE_KEYS)]

    def __iter__(self) -> Iterator[HostileRecord]:
        while True:
            yield self.next()

    def next(self) -> HostileRecord:
        """Make the next record: a valid one with up to four mutations."""
        rng = self._rng
        is_honest_key = rng.random() < self._honest_share
        if is_honest_key:
            key = rng.choice(self._honest_keys)
        else:
            key = rng.choice(self._hostile_keys) if rng.random() < 0.5 else str(self._uuid())
        record = self._valid(key)
        for mutation in rng.choices(MUTATIONS, k=rng.choice((0, 1, 1, 1, 2, 2, 4))):
            mutation(rng, record)
        if is_honest_key:
            rng.choice(DISARMING)(rng, record)
        if record.key is None:
            # aiokafka sends no record with neither.
            record.value = record.value or b""
        return record

    def _valid(self, key: str) -> HostileRecord:
        event, example = self._rng.choice(self._examples)
        headers = encode_headers(
            event_id=self._uuid(),
            event_type=event.type,
            source=self._topic.source,
            dataschema=dataschema_of(event.type),
            occurred_at=datetime.now(UTC),
            key=key,
            sequence=self._rng.randrange(1, 50),
            traceparent=None,
            tracestate=None,
        )
        value = json.dumps(example | {event.key_field: key}).encode()
        return HostileRecord(key.encode(), value, [*headers])

    def _uuid(self) -> UUID:
        return uuid7_at(self._rng, datetime.now(UTC))


async def send_hostile(
    producer: AIOKafkaProducer,
    hostile: HostileRecords,
    *,
    topic: str,
    records: int | None = None,
    per_second: float | None = None,
    before_sending: Callable[[HostileRecord], None] = lambda _record: None,
) -> None:
    """Send hostile records to a topic's declared partitions; without `records` until cancelled. `topic`: its full name.

    They are sent at the given rate, or as fast as Kafka takes them. Raises: KafkaError.
    """
    began_at, pending = time.monotonic(), []
    for number in count() if records is None else range(records):
        record = hostile.next()
        before_sending(record)
        pending.append(
            await producer.send(
                topic, value=record.value, key=record.key, headers=record.headers, partition=number % hostile.partitions
            )
        )
        if len(pending) >= MAX_PENDING:
            await asyncio.gather(*pending)
            pending = []
        if per_second:
            await asyncio.sleep(began_at + number / per_second - time.monotonic())
    await asyncio.gather(*pending)


def uuid7_at(rng: random.Random, time: datetime) -> UUID:
    """Return a UUIDv7 of a time."""
    milliseconds = int(time.timestamp() * 1000) % 2**48
    return UUID(int=(milliseconds << 80) | (7 << 76) | (rng.getrandbits(12) << 64) | (2 << 62) | rng.getrandbits(62))


def foreign_source(rng: random.Random, record: HostileRecord) -> None:
    source = rng.choice((b"urn:orderly:stranger", b"", b"\xff", b"urn:orderly:users ", b"x" * 3_000))
    record.set("ce_source", source)


def unknown_type(rng: random.Random, record: HostileRecord) -> None:
    record.set("ce_type", rng.choice((b"x.y", b"USER.CREATED", b"user.created\x00", b"\xff", b"t" * 3_000)))


def unreadable(rng: random.Random, record: HostileRecord) -> None:
    header = rng.choice(("ce_id", "ce_sequence", "ce_specversion", "ce_time", "ce_source", "ce_type"))
    record.remove(header)


def _other_topics_type(rng: random.Random, record: HostileRecord) -> None:
    record.set("ce_type", rng.choice(list(EVENT_TYPES)).encode())


def _other_sequence(rng: random.Random, record: HostileRecord) -> None:
    record.set("ce_sequence", rng.choice(_SEQUENCES))


def _other_id(rng: random.Random, record: HostileRecord) -> None:
    past = uuid7_at(rng, datetime.now(UTC) - timedelta(days=rng.randrange(-400, 400)))
    other_version = UUID(int=rng.getrandbits(128), version=4)
    latest = UUID(int=(2**48 - 1) << 80 | 7 << 76 | 2 << 62)
    ids = (past, other_version, latest, UUID(int=0), f"{past}0", f"urn:uuid:{past}", "no-id")
    record.set("ce_id", str(rng.choice(ids)).encode())


def _other_time(rng: random.Random, record: HostileRecord) -> None:
    record.set("ce_time", rng.choice(_TIMES))


def _odd_header(rng: random.Random, record: HostileRecord) -> None:
    name, _ = rng.choice(record.headers or [("ce_id", None)])
    odd = rng.choice((*_ODD_BYTES, None))
    record.headers.append((name, odd)) if rng.random() < 0.5 else record.set(name, odd)


def _missing_header(rng: random.Random, record: HostileRecord) -> None:
    if record.headers:
        record.remove(rng.choice(record.headers)[0])


def _no_headers(_rng: random.Random, record: HostileRecord) -> None:
    record.headers = []


def _repeated_header(rng: random.Random, record: HostileRecord) -> None:
    if record.headers:
        name, value = rng.choice(record.headers)
        # Kafka takes no record of more than 1 MiB.
        record.headers += [(name, value)] * (2 if len(value or b"") > 1_000 else rng.choice((1, 2, 100)))


def _more_headers(rng: random.Random, record: HostileRecord) -> None:
    size = 60_000 if rng.random() < 0.02 else 200
    names = ("traceparent", "tracestate", "ce\x00x", "\u0436" * 40, "another")
    record.headers.append((rng.choice(names), rng.randbytes(size)))


def _odd_key(rng: random.Random, record: HostileRecord) -> None:
    record.key = rng.choice((None, *_ODD_BYTES, rng.randbytes(3_000), (record.key or b"") + b"!"))


def _cut_value(rng: random.Random, record: HostileRecord) -> None:
    value = record.value or b""
    record.value = value[: rng.randrange(len(value) + 1)]


def _odd_value(rng: random.Random, record: HostileRecord) -> None:
    huge = rng.randbytes(300_000) if rng.random() < 0.005 else rng.randbytes(300)
    record.value = rng.choice((None, *_ODD_BYTES, huge, b"[" * 2_000, b'{"a":' * 500))


def _odd_field(rng: random.Random, record: HostileRecord) -> None:
    try:
        data = json.loads(record.value or b"")
    except (ValueError, RecursionError):
        return
    if isinstance(data, dict) and data:
        data[rng.choice(list(data))] = rng.choice(_ODD_JSON)
        record.value = json.dumps(data).encode()


MUTATIONS: Sequence[Mutation] = (
    foreign_source,
    unknown_type,
    _other_topics_type,
    _other_sequence,
    _other_id,
    _other_time,
    _odd_header,
    _missing_header,
    _no_headers,
    _repeated_header,
    _more_headers,
    _odd_key,
    _cut_value,
    _odd_value,
    _odd_field,
    _odd_field,
)
DISARMING: Sequence[Mutation] = (foreign_source, unknown_type, unreadable)
"""Mutations after which a record must not disturb the key that it names."""

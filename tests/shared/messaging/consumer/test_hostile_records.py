"""A record that no service would send becomes a dead letter if need be, and the following records are applied."""

import asyncio
import secrets
from hashlib import sha256

import pytest

from shared.database import Database
from shared.ids import new_id
from shared.messaging.consumer.worker import ConsumerWorker
from shared.messaging.envelope import MAX_KEY_LENGTH, Record
from tests.harness.builders import received, record_of
from tests.harness.rows import Rows
from tests.shared.effects import CONSUMER, credit_reserved, subscription

TIMEOUT_SECONDS = 10.0


async def consume_twice(database: Database, *records: Record) -> None:
    """Apply the records, and again as after a crash."""
    worker = ConsumerWorker(name=CONSUMER, subscription=subscription(), sessions=database.sessions)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await worker.apply(records)
        await worker.apply(records)


def with_header(name: str, value: bytes) -> Record:
    """Return a valid event's record in which one header is replaced."""
    record = record_of(received(credit_reserved(), sequence=1))
    record.headers = [*dict(record.headers, **{name: value}).items()]
    return record


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("ce_sequence", b"100000000000000000000"),
        ("ce_sequence", str(2**63).encode()),
        ("ce_sequence", b"0"),
        ("ce_sequence", b"-1"),
        ("ce_sequence", b"9" * 5_000),
        ("ce_sequence", b"one"),
        ("ce_id", secrets.token_hex(50_000).encode()),
        ("ce_time", b"2026-01-01T00:00:00"),
        ("ce_time", b"9" * 100_000),
        ("ce_specversion", b"\x00" * 100_000),
    ],
)
async def test_an_invalid_envelope_becomes_a_dead_letter(database: Database, header: str, value: bytes) -> None:
    good, bad = record_of(received(credit_reserved(), sequence=1)), with_header(header, value)
    await consume_twice(database, bad, good)
    rows = Rows(database.sessions)
    assert await rows.effects() == [(good.key.decode(), 1)]
    assert await rows.dead_letters() == [(bad.key.decode(), None, "undecodable")]
    assert await rows.of("SELECT length(error) <= 500 FROM dead_letter") == [(True,)]


async def test_the_greatest_possible_sequence_is_valid(database: Database) -> None:
    record = with_header("ce_sequence", str(2**63 - 1).encode())
    await consume_twice(database, record)
    assert await Rows(database.sessions).effects() == [(record.key.decode(), 2**63 - 1)]


@pytest.mark.parametrize("header", ["ce_type", "traceparent", "tracestate", "another"])
async def test_a_header_may_have_any_length(database: Database, header: str) -> None:
    good = record_of(received(credit_reserved(), sequence=1))
    await consume_twice(database, with_header(header, secrets.token_hex(50_000).encode()), good)
    assert (good.key.decode(), 1) in await Rows(database.sessions).effects()
    assert await Rows(database.sessions).dead_letters() == []


@pytest.mark.parametrize("key", [secrets.token_hex(50_000).encode(), b"\xff" * 3_000, "ю".encode() * 3_000])
async def test_a_key_may_have_any_length(database: Database, key: bytes) -> None:
    """A long key is cut, because an index cannot hold it; two keys with the same beginning stay different."""
    good = record_of(received(credit_reserved(), sequence=1))
    bad, worse = [record_of(received(credit_reserved(), sequence=1, event_id=new_id())) for _ in range(2)]
    bad.key, worse.key = key, key + b"!"
    await consume_twice(database, bad, worse, good)
    rows = Rows(database.sessions)
    assert await rows.effects() == [(good.key.decode(), 1)]
    dead_letters = await rows.dead_letters()
    assert [(len(name), sequence, reason) for name, sequence, reason in dead_letters] == [
        (MAX_KEY_LENGTH, 1, "invalid")
    ] * 2
    assert [name.rpartition(":")[2] for name, _, _ in dead_letters] == [
        sha256(each.key).hexdigest() for each in (bad, worse)
    ]

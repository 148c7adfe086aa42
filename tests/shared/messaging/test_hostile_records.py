"""A record that no service would send stops nobody: it is parked as it can be, and the next ones are applied."""

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
from tests.shared.messaging.scenario import CONSUMER, credit_reserved, subscription

SOON_SECONDS = 10.0


async def consumed(database: Database, *records: Record) -> None:
    """Twice, as after a crash."""
    consumer = ConsumerWorker(name=CONSUMER, subscription=subscription(), sessions=database.sessions)
    async with asyncio.timeout(SOON_SECONDS):
        await consumer.apply(records)
        await consumer.apply(records)


def with_header(name: str, value: bytes) -> Record:
    """A good event's record but for one header."""
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
async def test_an_envelope_that_means_nothing(database: Database, header: str, value: bytes) -> None:
    good, bad = record_of(received(credit_reserved(), sequence=1)), with_header(header, value)
    await consumed(database, bad, good)
    rows = Rows(database.sessions)
    assert await rows.effects() == [(good.key.decode(), 1)]
    assert await rows.dead_letters() == [(bad.key.decode(), None, "undecodable")]
    assert await rows.of("SELECT length(error) <= 500 FROM dead_letter") == [(True,)]


async def test_the_greatest_sequence_of_all_is_one(database: Database) -> None:
    record = with_header("ce_sequence", str(2**63 - 1).encode())
    await consumed(database, record)
    assert await Rows(database.sessions).effects() == [(record.key.decode(), 2**63 - 1)]


@pytest.mark.parametrize("header", ["ce_type", "ce_source", "traceparent", "tracestate", "another"])
async def test_a_header_of_any_length(database: Database, header: str) -> None:
    good = record_of(received(credit_reserved(), sequence=1))
    await consumed(database, with_header(header, secrets.token_hex(50_000).encode()), good)
    assert (good.key.decode(), 1) in await Rows(database.sessions).effects()
    assert await Rows(database.sessions).dead_letters() == []


@pytest.mark.parametrize("key", [secrets.token_hex(50_000).encode(), b"\xff" * 3_000, "ю".encode() * 3_000])
async def test_a_key_of_any_length(database: Database, key: bytes) -> None:
    """No index holds a long key, so it is cut; two that begin alike stay two."""
    good = record_of(received(credit_reserved(), sequence=1))
    bad, worse = [record_of(received(credit_reserved(), sequence=1, event_id=new_id())) for _ in range(2)]
    bad.key, worse.key = key, key + b"!"
    await consumed(database, bad, worse, good)
    rows = Rows(database.sessions)
    assert await rows.effects() == [(good.key.decode(), 1)]
    dead_letter = await rows.dead_letters()
    assert [(len(name), sequence, reason) for name, sequence, reason in dead_letter] == [
        (MAX_KEY_LENGTH, 1, "invalid")
    ] * 2
    assert [name.rpartition(":")[2] for name, _, _ in dead_letter] == [
        sha256(each.key).hexdigest() for each in (bad, worse)
    ]

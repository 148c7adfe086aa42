"""A gap in a key's sequence is noticed, and nothing else counts as one."""

from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from shared.events.topics import topic_named
from shared.ids import new_id
from shared.messaging.consumer.gaps import MAX_KEYS, SequenceGaps
from shared.messaging.storage.generation import NUMBER_BITS
from tests.harness.builders import received, record_of
from tests.shared.effects import credit_reserved

SOURCE = topic_named("users").source
USER, OTHER = new_id(), new_id()
NEXT_GENERATION = 7 << NUMBER_BITS


def note(gaps: SequenceGaps, *sequences: int, **record: str) -> list[tuple[int, int]]:
    """Note events of one user; return the gaps that were logged: the sequences around each."""
    with capture_logs() as logs:
        for sequence in sequences:
            event = record_of(received(credit_reserved(USER), sequence=sequence, source=record.get("source", SOURCE)))
            gaps.note(event, dict(event.headers))
    return [(line["last_sequence"], line["sequence"]) for line in logs]


@pytest.mark.parametrize(
    ("sequences", "found"),
    [
        ([1, 2, 3], []),
        ([5, 6], []),
        ([1, 3, 4, 7], [(1, 3), (4, 7)]),
        ([1, 2, 1, 2, 3], []),
        ([2, NEXT_GENERATION + 1, NEXT_GENERATION + 3], [(NEXT_GENERATION + 1, NEXT_GENERATION + 3)]),
    ],
    ids=["none", "a key that was not seen before", "gaps", "delivered again", "a new generation of the database"],
)
def test_gaps_are_noticed(sequences: list[int], found: list[tuple[int, int]]) -> None:
    assert note(SequenceGaps("orders.users", source=SOURCE), *sequences) == found


def test_records_of_strangers_are_no_gaps() -> None:
    gaps = SequenceGaps("orders.users", source=SOURCE)
    assert note(gaps, 1) == []
    assert note(gaps, 900, source="urn:stranger") == []
    event = record_of(received(credit_reserved(USER), sequence=1, source=SOURCE))
    for digits in (b"9" * 5000, b"-3", b"", None):
        gaps.note(event, {**dict(event.headers), "ce_sequence": digits})
    assert note(gaps, 2) == []


def test_what_other_members_have_received_is_no_gap() -> None:
    gaps = SequenceGaps("orders.users", source=SOURCE)
    note(gaps, 1)
    gaps.clear()
    assert note(gaps, 5, 6) == []


def test_only_the_last_keys_are_remembered() -> None:
    gaps = SequenceGaps("orders.users", source=SOURCE)
    event = record_of(received(credit_reserved(OTHER), sequence=1, source=SOURCE))
    note(gaps, 1)
    for number in range(2 * MAX_KEYS):
        gaps.note(replace(event, key=b"%d" % number), dict(event.headers))
    assert note(gaps, 3) == []
    assert note(gaps, 5) == [(3, 5)]

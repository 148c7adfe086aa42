"""The oracle sees each kind of damage, and sees none where there is none."""

from dataclasses import replace
from uuid import UUID

import pytest

from tests.chaos.oracle import Evidence, Occurrence, broken, judge


def event(number: int) -> UUID:
    """The id of an event."""
    return UUID(int=number, version=4)


def occurrence(number: int, *, key: str = "a", reason: str = "") -> Occurrence:
    """The event of that number, which is its sequence too."""
    return Occurrence(key, number, event(number), reason)


FIRST, SECOND, THIRD = (occurrence(number) for number in (1, 2, 3))
SOUND = Evidence(
    committed={"a": [event(1), event(2), event(3)]},
    acknowledged=frozenset({event(10)}),
    operations=frozenset({event(10), event(11)}),
    records=[FIRST, SECOND, FIRST, THIRD],
    effects=[FIRST, SECOND, THIRD],
    dead_letters=[],
    reserved_cents={"a": 300},
    balances_cents={"a": 300},
    extremes_cents=(100, 300),
)
POISONED = replace(
    SOUND,
    effects=[FIRST],
    dead_letters=[occurrence(2, reason="rule_violated"), occurrence(3, reason="blocked")],
    balances_cents={"a": 100},
)


@pytest.mark.parametrize("evidence", [SOUND, POISONED], ids=["sound", "poisoned"])
def test_what_is_whole_has_no_violations(evidence: Evidence) -> None:
    assert broken(judge(evidence)) == {}
    assert evidence.duplicates == 1


@pytest.mark.parametrize(
    ("damaged", "words"),
    [
        (replace(SOUND, unsent=3), "outbox empty and no lag"),
        (replace(SOUND, lag=3), "outbox empty and no lag"),
        (replace(SOUND, records=[FIRST, SECOND]), "no committed event is missing"),
        (replace(SOUND, effects=[FIRST, SECOND]), "was applied, or is parked"),
        (replace(SOUND, records=[FIRST, SECOND, THIRD, occurrence(4)]), "that was not committed"),
        (replace(SOUND, effects=[FIRST, SECOND, THIRD, occurrence(4)]), "that was not committed"),
        (replace(SOUND, effects=[FIRST, SECOND, SECOND, THIRD]), "applied twice"),
        (replace(SOUND, dead_letters=[occurrence(3, reason="rule_violated")]), "applied twice"),
        (replace(SOUND, records=[SECOND, FIRST, THIRD]), "in the topic in the order"),
        (replace(SOUND, committed={"a": [event(2), event(1), event(3)]}), "in the topic in the order"),
        (replace(SOUND, effects=[FIRST, THIRD, SECOND]), "applied in their order"),
        (replace(POISONED, effects=[FIRST, THIRD]), "applied in their order"),
        (replace(POISONED, dead_letters=[occurrence(2, reason="out_of_order"), THIRD]), "only poison is parked"),
        (replace(POISONED, dead_letters=[occurrence(2, reason="rule_violated"), THIRD]), "only poison is parked"),
        (replace(POISONED, dead_letters=[occurrence(3, reason="rule_violated")]), "only poison is parked"),
        (replace(SOUND, records=[*SOUND.records, Occurrence("x", None, None)]), "parked once"),
        (replace(SOUND, acknowledged=frozenset({event(12)})), "stays so"),
        (replace(SOUND, balances_cents={"a": 200}), "credit is within its limit"),
        (replace(SOUND, extremes_cents=(-100, 300)), "credit is within its limit"),
        (replace(SOUND, reserved_cents={"a": 1_100}, balances_cents={"a": 1_100}), "credit is within its limit"),
    ],
)
def test_damage_is_seen(damaged: Evidence, words: str) -> None:
    assert any(words in name for name in broken(judge(damaged)))

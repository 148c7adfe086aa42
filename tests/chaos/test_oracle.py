"""The oracle finds each kind of damage, and none in a sound state."""

from dataclasses import replace
from uuid import UUID

import pytest

from tests.chaos.oracle import DEAD_LETTERS, ObservedState, Occurrence, check, violated


def event(number: int) -> UUID:
    """Return the id of the event of that number."""
    return UUID(int=number, version=4)


def occurrence(number: int, *, key: str = "a", reason: str = "") -> Occurrence:
    """Return an occurrence of the event of that number, which is its sequence too."""
    return Occurrence(key, number, event(number), reason)


EVENT_1, EVENT_2, EVENT_3 = (occurrence(number) for number in (1, 2, 3))
SOUND = ObservedState(
    committed={"a": [event(1), event(2), event(3)]},
    acknowledged=frozenset({event(10)}),
    operations=frozenset({event(10), event(11)}),
    records=[EVENT_1, EVENT_2, EVENT_1, EVENT_3],
    effects=[EVENT_1, EVENT_2, EVENT_3],
    dead_letters=[],
    reserved_cents={"a": 300},
    balances_cents={"a": 300},
    balance_extremes_cents=(100, 300),
)
POISONED = replace(
    SOUND,
    effects=[EVENT_1],
    dead_letters=[occurrence(2, reason="rule_violated"), occurrence(3, reason="blocked")],
    balances_cents={"a": 100},
)


@pytest.mark.parametrize("observed", [SOUND, POISONED], ids=["sound", "poisoned"])
def test_a_sound_state_violates_no_invariant(observed: ObservedState) -> None:
    assert violated(check(observed)) == {}
    assert observed.duplicates == 1


@pytest.mark.parametrize(
    ("damaged", "name"),
    [
        (replace(SOUND, unsent=-1), "The outbox is empty"),
        (replace(SOUND, unsent=3), "The outbox is empty"),
        (replace(SOUND, lag=3), "The outbox is empty"),
        (replace(SOUND, records=[EVENT_1, EVENT_2]), "No committed event is missing"),
        (replace(SOUND, effects=[EVENT_1, EVENT_2]), "was applied or is a dead letter"),
        (replace(SOUND, records=[EVENT_1, EVENT_2, EVENT_3, occurrence(4)]), "that was not committed"),
        (replace(SOUND, effects=[EVENT_1, EVENT_2, EVENT_3, occurrence(4)]), "that was not committed"),
        (replace(SOUND, effects=[EVENT_1, EVENT_2, EVENT_2, EVENT_3]), "applied twice"),
        (replace(SOUND, dead_letters=[occurrence(3, reason="rule_violated")]), "applied twice"),
        (replace(SOUND, records=[EVENT_2, EVENT_1, EVENT_3]), "in the topic in the order"),
        (replace(SOUND, committed={"a": [event(2), event(1), event(3)]}), "in the topic in the order"),
        (replace(SOUND, effects=[EVENT_1, EVENT_3, EVENT_2]), "applied in order"),
        (replace(POISONED, effects=[EVENT_1, EVENT_3]), "applied in order"),
        (
            replace(POISONED, dead_letters=[occurrence(2, reason="out_of_order"), EVENT_3]),
            DEAD_LETTERS,
        ),
        (
            replace(POISONED, dead_letters=[occurrence(2, reason="rule_violated"), EVENT_3]),
            DEAD_LETTERS,
        ),
        (
            replace(POISONED, dead_letters=[occurrence(3, reason="rule_violated")]),
            DEAD_LETTERS,
        ),
        (replace(SOUND, records=[*SOUND.records, Occurrence("x", None, None)]), "is one dead letter"),
        (replace(SOUND, acknowledged=frozenset({event(12)})), "stays committed"),
        (replace(SOUND, balances_cents={"a": 200}), "Credit is within its limit"),
        (replace(SOUND, balance_extremes_cents=(-100, 300)), "Credit is within its limit"),
        (replace(SOUND, reserved_cents={"a": 1_100}, balances_cents={"a": 1_100}), "Credit is within its limit"),
    ],
)
def test_damage_violates_an_invariant(damaged: ObservedState, name: str) -> None:
    assert any(name in invariant for invariant in violated(check(damaged)))

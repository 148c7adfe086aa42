"""The judge: compares what was committed with what the topic holds and with what was applied. Pure; reads nothing."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from uuid import UUID

from deploy.demo.invariants import Finding
from shared.messaging.dead_letters.reason import DeadLetterReason
from tests.chaos.accounts import LIMIT_CENTS

POISON = frozenset({DeadLetterReason.RULE_VIOLATED, DeadLetterReason.RETRYING})
"""Why the first parked event of a key may be parked. Everything else would be ours."""


@dataclass(frozen=True)
class Occurrence:
    """An event at one place: in the topic, applied, or parked. `event_id` is None for what is no event."""

    key: str
    sequence: int | None
    event_id: UUID | None
    reason: str = ""
    """Why it is parked."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What was found when everything had come to rest."""

    committed: Mapping[str, Sequence[UUID]]
    """By key, in the order of the commits."""
    acknowledged: frozenset[UUID]
    """Operations whose commit the writer was told of."""
    operations: frozenset[UUID]
    """Operations in the sender's database."""
    records: Sequence[Occurrence]
    """The topic: each partition in its order."""
    effects: Sequence[Occurrence]
    """In the order in which they were applied."""
    dead_letters: Sequence[Occurrence]
    reserved_cents: Mapping[str, int]
    """The sender's accounts."""
    balances_cents: Mapping[str, int]
    """The reader's picture of them."""
    extremes_cents: tuple[int, int] = (0, 0)
    """The least and the greatest balance that the reader ever had."""
    unsent: int = 0
    lag: int = 0

    @property
    def duplicates(self) -> int:
        """Records that brought an event once more; the reader must have absorbed them."""
        ids = [record.event_id for record in self.records if record.event_id is not None]
        return len(ids) - len(set(ids))


Find = Callable[[Evidence], Iterator[str]]


def _unsent_or_unread(evidence: Evidence) -> Iterator[str]:
    if evidence.unsent:
        yield f"{evidence.unsent} events wait in the outbox"
    if evidence.lag:
        yield f"the reader is {evidence.lag} records behind"


def _lost_on_the_way_to_the_topic(evidence: Evidence) -> Iterator[str]:
    sent = _ids(evidence.records)
    for key, event_ids in evidence.committed.items():
        yield from (f"{key} {place}: {one}" for place, one in enumerate(event_ids, start=1) if one not in sent)


def _lost_on_the_way_from_the_topic(evidence: Evidence) -> Iterator[str]:
    known = _ids(evidence.effects) | _ids(evidence.dead_letters)
    sent = _ids(evidence.records)
    for key, event_ids in evidence.committed.items():
        for place, one in enumerate(event_ids, start=1):
            if one in sent and one not in known:
                yield f"{key} {place}: {one}"


def _phantoms(evidence: Evidence) -> Iterator[str]:
    committed = {one for event_ids in evidence.committed.values() for one in event_ids}
    for where, found in (("sent", evidence.records), ("applied", evidence.effects), ("parked", evidence.dead_letters)):
        yield from (f"{where}: {one}" for one in _ids(found) - committed)


def _applied_twice(evidence: Evidence) -> Iterator[str]:
    applied = Counter(one.event_id for one in evidence.effects)
    yield from (f"{event_id}: {times} times" for event_id, times in applied.items() if times > 1)
    yield from (f"{event_id}: applied, and parked" for event_id in applied.keys() & _ids(evidence.dead_letters))
    dead_letter = Counter(one.event_id for one in evidence.dead_letters if one.event_id is not None)
    yield from (f"{event_id}: parked {times} times" for event_id, times in dead_letter.items() if times > 1)


def _sent_out_of_order(evidence: Evidence) -> Iterator[str]:
    """By first occurrences: a repetition may come late."""
    firsts: dict[str, dict[UUID, int | None]] = {}
    for record in evidence.records:
        if record.event_id is not None:
            firsts.setdefault(record.key, {}).setdefault(record.event_id, record.sequence)
    for key, found in firsts.items():
        if list(found.values()) != list(range(1, len(found) + 1)):
            yield f"{key}: {_around_the_break(list(found.values()))}"
        elif list(found) != list(evidence.committed.get(key, ()))[: len(found)]:
            yield f"{key}: numbered in another order than it was committed"


def _applied_out_of_order(evidence: Evidence) -> Iterator[str]:
    by_key: dict[str, list[Occurrence]] = {}
    for effect in evidence.effects:
        by_key.setdefault(effect.key, []).append(effect)
    for key, effects in by_key.items():
        sequences = [effect.sequence for effect in effects]
        if sequences != list(range(1, len(effects) + 1)):
            yield f"{key}: {_around_the_break(sequences)}"
        elif [effect.event_id for effect in effects] != list(evidence.committed.get(key, ()))[: len(effects)]:
            yield f"{key}: other events than were committed"


def _dead_lettered_without_cause(evidence: Evidence) -> Iterator[str]:
    applied = Counter(effect.key for effect in evidence.effects)
    by_key: dict[str, list[Occurrence]] = {}
    for event in evidence.dead_letters:
        if event.reason != DeadLetterReason.UNDECODABLE:
            by_key.setdefault(event.key, []).append(event)
    for key, events in by_key.items():
        head, *behind = events
        if head.reason not in POISON:
            yield f"{key}: parked as {head.reason}"
        elif any(event.reason != DeadLetterReason.BLOCKED for event in behind):
            yield f"{key}: {[event.reason for event in behind]} behind {head.reason}"
        elif [event.sequence for event in events] != list(range(applied[key] + 1, applied[key] + 1 + len(events))):
            yield f"{key}: not the last ones of their key"


def _unreadable_not_dead_lettered(evidence: Evidence) -> Iterator[str]:
    sent = sum(record.event_id is None for record in evidence.records)
    dead_letters = sum(event.reason == DeadLetterReason.UNDECODABLE for event in evidence.dead_letters)
    if sent != dead_letters:
        yield f"{sent} records were no events, {dead_letters} are dead letters"


def _undone(evidence: Evidence) -> Iterator[str]:
    yield from (f"operation {one}" for one in evidence.acknowledged - evidence.operations)


def _credit_is_wrong(evidence: Evidence) -> Iterator[str]:
    for key, cents in evidence.reserved_cents.items():
        if not 0 <= cents <= LIMIT_CENTS:
            yield f"{key}: {cents} reserved"
    least, greatest = evidence.extremes_cents
    if least < 0 or greatest > LIMIT_CENTS:
        yield f"the reader saw between {least} and {greatest}"
    stopped = {event.key for event in evidence.dead_letters}
    for key in evidence.reserved_cents.keys() - stopped:
        if evidence.reserved_cents[key] != evidence.balances_cents.get(key, 0):
            yield f"{key}: {evidence.reserved_cents[key]} reserved, {evidence.balances_cents.get(key, 0)} known"


QUIET = "outbox empty and no lag within 60 s of quiet"
NOT_SENT = "no committed event is missing in the topic"
NOT_APPLIED = "every event of the topic was applied, or is parked"
TWICE = "nothing was applied twice"
SENT_ORDER = "each key's events are in the topic in the order of their commits"
APPLIED_ORDER = "each key's events were applied in their order, without a gap"
DEAD_LETTERS = "only poison is parked, and what stands behind it"

INVARIANTS: Mapping[str, Find] = {
    QUIET: _unsent_or_unread,
    NOT_SENT: _lost_on_the_way_to_the_topic,
    NOT_APPLIED: _lost_on_the_way_from_the_topic,
    "nothing was sent or applied that was not committed": _phantoms,
    TWICE: _applied_twice,
    SENT_ORDER: _sent_out_of_order,
    APPLIED_ORDER: _applied_out_of_order,
    DEAD_LETTERS: _dead_lettered_without_cause,
    "each record that is no event is parked once": _unreadable_not_dead_lettered,
    "what a client was told is committed stays so": _undone,
    "credit is within its limit at every step, and both sides agree": _credit_is_wrong,
}


def judge(evidence: Evidence) -> list[Finding]:
    """Every invariant with its violations."""
    return [Finding(name, list(find(evidence))) for name, find in INVARIANTS.items()]


def broken(findings: Sequence[Finding]) -> dict[str, Sequence[str]]:
    """The invariants that do not hold."""
    return {finding.name: finding.violations for finding in findings if finding.violations}


def _ids(occurrences: Sequence[Occurrence]) -> set[UUID]:
    return {one.event_id for one in occurrences if one.event_id is not None}


def _around_the_break(sequences: Sequence[int | None]) -> str:
    """The first place where a sequence does not follow the one before it."""
    for place, (before, after) in enumerate(pairwise([0, *sequences])):
        if before is None or after != before + 1:
            return f"{after} came after {before}, as event {place + 1}"
    return "complete"

"""The oracle: compares the committed events with the topic and with the applied events. Pure functions, no I/O."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from uuid import UUID

from deploy.audit.findings import Finding
from shared.messaging.dead_letters.reason import DeadLetterReason
from tests.chaos.accounts import LIMIT_CENTS

POISON = frozenset({DeadLetterReason.RULE_VIOLATED, DeadLetterReason.RETRYING})
"""The only reasons for the first dead letter of a key. Any other one would be a bug of the messaging."""


@dataclass(frozen=True)
class Occurrence:
    """One event in the topic, applied, or stored as a dead letter. `event_id` is None for a record that is no event."""

    key: str
    sequence: int | None
    event_id: UUID | None
    reason: str = ""
    """The reason of a dead letter."""


@dataclass(frozen=True, kw_only=True)
class ObservedState:
    """The state of both databases and of the topic after a campaign."""

    committed: Mapping[str, Sequence[UUID]]
    """Event ids by key, in the order of the commits."""
    acknowledged: frozenset[UUID]
    """Operations whose commit returned to the writer."""
    operations: frozenset[UUID]
    """Operations in the producer's database."""
    records: Sequence[Occurrence]
    """The topic's records, sorted by partition and offset.

    A key moves only to partitions of higher numbers: campaigns double a topic's partitions. So the first record of each
    event comes after that of the key's event before it, whichever partitions they are in. A relay that published an
    event to the new partition before an earlier one to the old partition would violate this. That the consumer has
    applied the events of the old partition first shows in its effects and dead letters.
    """
    effects: Sequence[Occurrence]
    """Applied events, in the order of their effects."""
    dead_letters: Sequence[Occurrence]
    reserved_cents: Mapping[str, int]
    """Reserved credit by account, in the producer."""
    balances_cents: Mapping[str, int]
    """Reserved credit by account, as the consumer knows it."""
    balance_extremes_cents: tuple[int, int] = (0, 0)
    """The lowest and the highest balance that the consumer ever had."""
    unsent: int = 0
    """Rows in the outbox at the deadline; -1 if a server was unavailable."""
    lag: int = 0
    """Records that the consumer had not committed at the deadline; -1 if a server was unavailable."""

    @property
    def duplicates(self) -> int:
        """The number of records that repeat an event; the consumer must ignore them."""
        ids = [record.event_id for record in self.records if record.event_id is not None]
        return len(ids) - len(set(ids))


FindViolations = Callable[[ObservedState], Iterator[str]]


def _unsettled(observed: ObservedState) -> Iterator[str]:
    if observed.unsent < 0:
        yield "a server was unavailable"
        return
    if observed.unsent:
        yield f"{observed.unsent} events are in the outbox"
    if observed.lag:
        yield f"the consumer lags by {observed.lag} records"


def _not_sent(observed: ObservedState) -> Iterator[str]:
    sent = _ids(observed.records)
    for key, event_ids in observed.committed.items():
        yield from (f"{key} {place}: {one}" for place, one in enumerate(event_ids, start=1) if one not in sent)


def _not_applied(observed: ObservedState) -> Iterator[str]:
    known = _ids(observed.effects) | _ids(observed.dead_letters)
    sent = _ids(observed.records)
    for key, event_ids in observed.committed.items():
        for place, one in enumerate(event_ids, start=1):
            if one in sent and one not in known:
                yield f"{key} {place}: {one}"


def _not_committed(observed: ObservedState) -> Iterator[str]:
    committed = {one for event_ids in observed.committed.values() for one in event_ids}
    for what, found in (
        ("sent", observed.records),
        ("applied", observed.effects),
        ("dead-lettered", observed.dead_letters),
    ):
        yield from (f"{what}: {one}" for one in _ids(found) - committed)


def _applied_twice(observed: ObservedState) -> Iterator[str]:
    applied = Counter(one.event_id for one in observed.effects)
    yield from (f"{event_id}: {times} times" for event_id, times in applied.items() if times > 1)
    yield from (f"{event_id}: applied and dead-lettered" for event_id in applied.keys() & _ids(observed.dead_letters))
    dead_letters = Counter(one.event_id for one in observed.dead_letters if one.event_id is not None)
    yield from (f"{event_id}: dead-lettered {times} times" for event_id, times in dead_letters.items() if times > 1)


def _sent_out_of_order(observed: ObservedState) -> Iterator[str]:
    """Compare the first record of each event only: a repeated one may come late."""
    firsts: dict[str, dict[UUID, int | None]] = {}
    for record in observed.records:
        if record.event_id is not None:
            firsts.setdefault(record.key, {}).setdefault(record.event_id, record.sequence)
    for key, found in firsts.items():
        if list(found.values()) != list(range(1, len(found) + 1)):
            yield f"{key}: {_first_gap(list(found.values()))}"
        elif list(found) != list(observed.committed.get(key, ()))[: len(found)]:
            yield f"{key}: numbered in another order than committed"


def _applied_out_of_order(observed: ObservedState) -> Iterator[str]:
    by_key: dict[str, list[Occurrence]] = {}
    for effect in observed.effects:
        by_key.setdefault(effect.key, []).append(effect)
    for key, effects in by_key.items():
        sequences = [effect.sequence for effect in effects]
        if sequences != list(range(1, len(effects) + 1)):
            yield f"{key}: {_first_gap(sequences)}"
        elif [effect.event_id for effect in effects] != list(observed.committed.get(key, ()))[: len(effects)]:
            yield f"{key}: other events than were committed"


def _dead_lettered_without_cause(observed: ObservedState) -> Iterator[str]:
    applied = Counter(effect.key for effect in observed.effects)
    by_key: dict[str, list[Occurrence]] = {}
    for event in observed.dead_letters:
        if event.reason != DeadLetterReason.UNDECODABLE:
            by_key.setdefault(event.key, []).append(event)
    for key, events in by_key.items():
        first, *blocked = events
        if first.reason not in POISON:
            yield f"{key}: dead-lettered as {first.reason}"
        elif any(event.reason != DeadLetterReason.BLOCKED for event in blocked):
            yield f"{key}: {[event.reason for event in blocked]} after {first.reason}"
        elif [event.sequence for event in events] != list(range(applied[key] + 1, applied[key] + 1 + len(events))):
            yield f"{key}: not the last events of their key"


def _undecodable_not_dead_lettered(observed: ObservedState) -> Iterator[str]:
    sent = sum(record.event_id is None for record in observed.records)
    dead_letters = sum(event.reason == DeadLetterReason.UNDECODABLE for event in observed.dead_letters)
    if sent != dead_letters:
        yield f"{sent} records are no events, {dead_letters} dead letters are undecodable"


def _not_durable(observed: ObservedState) -> Iterator[str]:
    yield from (f"operation {one}" for one in observed.acknowledged - observed.operations)


def _credit_is_wrong(observed: ObservedState) -> Iterator[str]:
    for key, cents in observed.reserved_cents.items():
        if not 0 <= cents <= LIMIT_CENTS:
            yield f"{key}: {cents} reserved"
    lowest, highest = observed.balance_extremes_cents
    if lowest < 0 or highest > LIMIT_CENTS:
        yield f"the consumer's balances were between {lowest} and {highest}"
    blocked = {event.key for event in observed.dead_letters}
    for key in observed.reserved_cents.keys() - blocked:
        reserved, known = observed.reserved_cents[key], observed.balances_cents.get(key, 0)
        if reserved != known:
            yield f"{key}: {reserved} reserved, {known} in the consumer"


SETTLED = "The outbox is empty and no consumer lags 60 s after the servers are ready and the writers have stopped"
ALL_SENT = "No committed event is missing in the topic"
ALL_APPLIED = "Every event of the topic was applied or is a dead letter"
APPLIED_ONCE = "No event was applied twice"
SENT_IN_ORDER = "Each key's events are in the topic in the order of their commits"
APPLIED_IN_ORDER = "Each key's events were applied in order, without a gap"
DEAD_LETTERS = "Only poison events are dead letters, and the events blocked by them"

INVARIANTS: Mapping[str, FindViolations] = {
    SETTLED: _unsettled,
    ALL_SENT: _not_sent,
    ALL_APPLIED: _not_applied,
    "No event was sent or applied that was not committed": _not_committed,
    APPLIED_ONCE: _applied_twice,
    SENT_IN_ORDER: _sent_out_of_order,
    APPLIED_IN_ORDER: _applied_out_of_order,
    DEAD_LETTERS: _dead_lettered_without_cause,
    "Each record that is no event is one dead letter": _undecodable_not_dead_lettered,
    "A confirmed commit stays committed": _not_durable,
    "Credit is within its limit at every step, and producer and consumer agree": _credit_is_wrong,
}


def check(observed: ObservedState) -> list[Finding]:
    """Return every invariant with its violations."""
    return [Finding(name, list(find(observed))) for name, find in INVARIANTS.items()]


def violated(findings: Sequence[Finding]) -> dict[str, Sequence[str]]:
    """Return the invariants that do not hold, with their violations."""
    return {finding.name: finding.violations for finding in findings if finding.violations}


def _ids(occurrences: Sequence[Occurrence]) -> set[UUID]:
    return {one.event_id for one in occurrences if one.event_id is not None}


def _first_gap(sequences: Sequence[int | None]) -> str:
    """Describe the first place where a sequence number does not follow the one before it."""
    for position, (before, after) in enumerate(pairwise([0, *sequences]), start=1):
        if before is None or after != before + 1:
            return f"{after} follows {before}, as event {position}"
    return "complete"

"""The invariants by name, and what contradicts them: violations, each with the command that settles it."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple


class Invariant(StrEnum):
    """A rule, as a sentence. In the order of an event's path: a step's work is checked after the step before it."""

    CREDIT_WITHIN_LIMIT = "No user's reserved and used credit exceeds the limit"
    CREDIT_IS_SUM_OF_ORDERS = "Each user's credit is the sum of the orders that hold it"
    CREDIT_IS_SUM_OF_ENTRIES = "Each user's credit is the sum of its ledger's entries"
    STOCK_NOT_OVERSOLD = "No product has more units reserved than in stock"
    STOCK_IS_SUM_OF_ORDERS = "Each product's reserved units are the sum of its open orders"
    NO_DEAD_LETTER = "No event is a dead letter"
    NO_GAP = "No key has a gap in its events"
    CONTACTS_OPENED = "No replica waits for a user's data to be opened"
    NO_PENDING_ORDER = "No order is pending"
    OUTBOX_EMPTY = "Every outbox is empty"
    EVENT_IN_TOPIC = "Every sent event is in its topic"
    EVENT_APPLIED = "Every consumer has applied every sent event that it handles"
    POSITION_REACHED = "Every consumer has reached the last event of every key"
    CREDIT_AGREED = "Orders and users agree on the credit of each order"
    ONE_WELCOME = "Each user has one welcome notification"
    ONE_NOTIFICATION_PER_CHANGE = "Each change of an order has one notification"
    NOTIFICATION_HAS_SUBJECT = "Each notification is about an order or a user that its service knows"
    NOTIFICATION_SENT = "Each notification was sent once per channel"
    NO_OVERDUE_DELIVERY = "No delivery is overdue"
    NO_OVERDUE_JOB = "No job is overdue"

    @property
    def label(self) -> str:
        """The invariant as a metric's label, and as the first part of a finding's id."""
        return self.name.lower()


AT_ANY_MOMENT = frozenset(
    {
        Invariant.CREDIT_WITHIN_LIMIT,
        Invariant.CREDIT_IS_SUM_OF_ORDERS,
        Invariant.CREDIT_IS_SUM_OF_ENTRIES,
        Invariant.STOCK_NOT_OVERSOLD,
        Invariant.STOCK_IS_SUM_OF_ORDERS,
        Invariant.NO_DEAD_LETTER,
        Invariant.NO_GAP,
    }
)
"""Invariants that hold while the system works. The others hold once every event is applied and every mail is sent."""


class Kind(StrEnum):
    """The kind of a key that a check looks up."""

    USER = "user"
    ORDER = "order"
    PRODUCT = "product"
    NOTIFICATION = "notification"
    STREAM = "stream"
    """The events of one topic and key: `orders/0199...`"""
    EVENT = "event"
    """A sent event by its service, day and id: `orders/2026-11-23/17`"""
    WAITING = "waiting"
    """Something that waits for too long. It is found by an index, and is not looked up by its key."""


class Key(NamedTuple):
    """The subject of a violation, which is checked again in a later run."""

    kind: Kind
    value: str


@dataclass(frozen=True, order=True)
class Violation:
    """One contradiction to an invariant."""

    invariant: Invariant
    key: Key
    text: str
    """A sentence that says what is wrong, with all numbers."""
    command: str
    """The command that settles it."""
    changed_at: datetime | None = None
    """The last change of what was compared across services. Without it the invariant holds at any moment."""
    detail: str = ""
    """The part of its subject that it is about, such as a consumer, if a subject can violate the invariant twice."""

    @property
    def id(self) -> str:
        """The name of the finding: the same in every run."""
        return ":".join(filter(None, (self.invariant.label, self.key.kind, self.key.value, self.detail)))


@dataclass(frozen=True)
class Finding:
    """The violations of one invariant; none if it holds."""

    name: str
    violations: Sequence[str]


def findings_of(violations: Iterable[Violation], *, checked: Collection[Invariant]) -> list[Finding]:
    """Return every checked invariant with its violations as sentences, each with the command that settles it."""
    texts: dict[Invariant, list[str]] = defaultdict(list)
    for violation in violations:
        texts[violation.invariant].append(f"{violation.text}. To settle it: {violation.command}")
    return [Finding(invariant, texts[invariant]) for invariant in Invariant if invariant in checked]


def violated(findings: Iterable[Finding]) -> dict[str, Sequence[str]]:
    """Return the invariants that do not hold, with their violations."""
    return {finding.name: finding.violations for finding in findings if finding.violations}

"""Statements grouped into transactions, so that those of an order can be told from those of a poll."""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from tests.bench.work.statement_log import Statement

_BEGIN = re.compile(r"(?:BEGIN|START TRANSACTION)\b", re.IGNORECASE)
_END = re.compile(r"(?:COMMIT|END|ABORT|ROLLBACK(?! TO))\b", re.IGNORECASE)
_RESET = re.compile(r"SELECT pg_advisory_unlock_all\(\)|RESET ALL|DISCARD ALL")
"""Statements that asyncpg's pool executes when a connection returns to it."""
_RENEWAL = "UPDATE relay_lease SET expires_at"

_ONCE_A_SECOND = re.compile(r"FROM revoked_session|JOIN revoked_session")
"""The read of revoked sessions: once a second for each process that verifies tokens, for any number of orders."""

Shape: TypeAlias = tuple[str, tuple[str, ...]]


@dataclass
class Transaction:
    """The statements of one transaction, with the reset of its connection after it."""

    service: str
    texts: list[str] = field(default_factory=list)

    @property
    def shape(self) -> Shape:
        """Equal for two executions of the same code."""
        return self.service, tuple(self.texts)


def transactions_of(statements: Iterable[Statement]) -> list[Transaction]:
    """Group statements by session. A statement outside of a transaction block is a transaction.

    A block without statements is one as well: a check that the database answers.
    """
    found: list[Transaction] = []
    last: dict[int, Transaction] = {}
    open_: dict[int, Transaction] = {}
    in_block: set[int] = set()
    for one in statements:
        if _RESET.search(one.text) and one.session in last and one.session not in open_:
            last[one.session].texts.append(one.text)
            continue
        if one.session not in open_:
            open_[one.session] = Transaction(one.service)
            found.append(open_[one.session])
        current = open_[one.session]
        current.texts.append(one.text)
        if _BEGIN.match(one.text):
            in_block.add(one.session)
        elif _END.match(one.text):
            in_block.discard(one.session)
        if one.session not in in_block:
            last[one.session] = open_.pop(one.session)
    return found


@dataclass(frozen=True)
class StatementCounts:
    """The statements of one order by service and text."""

    own: dict[str, Counter[str]]
    """Statements of transactions that an idle system does not execute."""
    polls: dict[str, Counter[str]]
    """Statements of transactions that an idle system executes as well, and of those that depend on time."""
    transactions: Counter[str]
    """The order's own transactions by service."""


def counts_of(transactions: Iterable[Transaction], *, idle_shapes: Collection[Shape]) -> StatementCounts:
    """Count the statements of one window, those of polls apart."""
    own: dict[str, Counter[str]] = defaultdict(Counter)
    polls: dict[str, Counter[str]] = defaultdict(Counter)
    number = Counter[str]()
    for one in transactions:
        if one.shape in idle_shapes or any(map(_ONCE_A_SECOND.search, one.texts)):
            polls[one.service].update(one.texts)
        else:
            own[one.service].update(one.texts)
            number[one.service] += 1
    return StatementCounts(own, polls, number)


def lease_renewals(transactions: Iterable[Transaction]) -> Counter[str]:
    """Count the renewals of relays' leases by service: they write, but at their own pace, as on an idle system."""
    return Counter(one.service for one in transactions if one.texts[0].startswith(_RENEWAL))


def least(counters: Sequence[Counter[str]]) -> Counter[str]:
    """Return each key's smallest count over several windows: what runs in the background only adds."""
    first, *others = counters
    return Counter({key: count for key in first if (count := min(first[key], *(one[key] for one in others)))})


def least_of(counts: Sequence[StatementCounts], *, services: Iterable[str]) -> StatementCounts:
    """Return each statement's smallest count over several orders."""
    return StatementCounts(
        own={one: least([count.own[one] for count in counts]) for one in services},
        polls={one: least([count.polls[one] for count in counts]) for one in services},
        transactions=least([count.transactions for count in counts]),
    )

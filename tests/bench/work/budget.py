"""The committed budget of an order: reading it, comparing counts with it, and writing it anew."""

import json
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from deploy.local.credentials import SERVICES
from tests.bench.work.lone_orders import IdleWork, OrderWork
from tests.bench.work.statement_log import label_of

ORDERS = 4
"""Lone orders of one count. The smallest count of them is exact: what runs in the background only adds to some."""
IDLE_SECONDS = 6.0
FILE = Path(__file__).parents[1] / "work_budget.toml"
ALLOWANCE = 2.0
"""Upper bounds of polls and idle statements are this many times the measured number: both depend on time."""

HEADER = """\
# What a lone order may cost: a test fails above it. `python -m tests.bench.work write-budget` writes it anew.
# `statements` counts the order's own transactions by text, `poll_statements` those that an idle system executes too,
# and the users service's read of revoked sessions, at most once a second for each process that verifies tokens.
# Polls and idle statements depend on time, so they are upper bounds; all other numbers are exact.
"""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Upper bounds by service, and by topic for records."""

    statements: Mapping[str, Counter[str]]
    """Statements of the order's own transactions, by service and label."""
    commits: Counter[str]
    """Commits that write."""
    records: Counter[str]
    poll_statements: Mapping[str, int]
    idle_statements_per_second: Mapping[str, int]

    @classmethod
    def of(cls, order: OrderWork, idle: IdleWork) -> "Budget":
        """Return the budget that these counts just meet."""
        return cls(
            statements={service: _by_label(order.statements[service]) for service in SERVICES},
            commits=Counter({service: order.commits[service] for service in SERVICES}),
            records=order.records,
            poll_statements={name: ceil(ALLOWANCE * order.polls[name].total()) for name in SERVICES},
            idle_statements_per_second={
                name: ceil(ALLOWANCE * idle.statements[name].total() / idle.seconds) for name in SERVICES
            },
        )

    @classmethod
    def of_all(cls, budgets: Sequence["Budget"]) -> "Budget":
        """Return the largest number of each: what happens in some orders only is then no surprise in a test."""
        return cls(
            statements={name: _largest([one.statements[name] for one in budgets]) for name in SERVICES},
            commits=_largest([one.commits for one in budgets]),
            records=_largest([one.records for one in budgets]),
            poll_statements=_largest([one.poll_statements for one in budgets]),
            idle_statements_per_second=_largest([one.idle_statements_per_second for one in budgets]),
        )

    @classmethod
    def read(cls, path: Path = FILE) -> "Budget":
        """Read the committed budget."""
        content = tomllib.loads(path.read_text())
        services = {service: content[service] for service in SERVICES}
        return cls(
            statements={name: Counter(one["statements"]) for name, one in services.items()},
            commits=Counter({name: one["writing_commits"] for name, one in services.items()}),
            records=Counter(content["records"]),
            poll_statements={name: one["poll_statements"] for name, one in services.items()},
            idle_statements_per_second={name: one["idle_statements_per_second"] for name, one in services.items()},
        )

    def write(self, path: Path = FILE) -> None:
        """Write the budget to its file."""
        path.write_text("\n".join([HEADER, *self._lines()]))

    def _lines(self) -> Iterator[str]:
        yield "[records]"
        yield from (f"{topic} = {number}" for topic, number in sorted(self.records.items()))
        for service in SERVICES:
            yield f"\n[{service}]"
            yield f"writing_commits = {self.commits[service]}"
            yield f"poll_statements = {self.poll_statements[service]}"
            yield f"idle_statements_per_second = {self.idle_statements_per_second[service]}"
            yield f"\n[{service}.statements] # {self.statements[service].total()} in all"
            for label, number in sorted(self.statements[service].items(), key=lambda one: (-one[1], one[0])):
                # A JSON string is a TOML string.
                yield f"{json.dumps(label)} = {number}"
        yield ""


def exceeded(budget: Budget, found: Budget) -> list[str]:
    """Say what is above the budget, by how much, and by which statements. `found`: see `measured`."""
    problems: list[str] = []
    for service in SERVICES:
        allowed, counted = budget.statements[service], found.statements[service]
        if counted.total() > allowed.total():
            changes = [f"+{number} {label}" for label, number in (counted - allowed).items()]
            changes += [f"-{number} {label}" for label, number in (allowed - counted).items()]
            problems.append(_above(f"{service}: statements", counted.total(), allowed.total(), *changes))
        bounds = {
            "commits that write": (found.commits, budget.commits),
            "statements of polls": (found.poll_statements, budget.poll_statements),
            "idle statements per second": (found.idle_statements_per_second, budget.idle_statements_per_second),
        }
        for what, (number_of, bound_of) in bounds.items():
            if number_of[service] > bound_of[service]:
                problems.append(_above(f"{service}: {what}", number_of[service], bound_of[service]))
    for topic, number in found.records.items():
        if number > budget.records[topic]:
            problems.append(_above(f"records in {topic}", number, budget.records[topic]))
    return problems


def measured(order: OrderWork, idle: IdleWork) -> Budget:
    """Return the counts as they are, without an allowance."""
    return Budget(
        statements={service: _by_label(order.statements[service]) for service in SERVICES},
        commits=order.commits,
        records=order.records,
        poll_statements={name: order.polls[name].total() for name in SERVICES},
        idle_statements_per_second={name: int(idle.statements[name].total() / idle.seconds) for name in SERVICES},
    )


def savings(budget: Budget, found: Budget) -> list[str]:
    """Say which exact numbers are below the budget."""
    below = [
        f"{service}: {what} {number} < {bound}"
        for service in SERVICES
        for what, number, bound in (
            ("statements", found.statements[service].total(), budget.statements[service].total()),
            ("commits that write", found.commits[service], budget.commits[service]),
        )
        if number < bound
    ]
    return below + [
        f"records in {topic} {found.records[topic]} < {bound}"
        for topic, bound in budget.records.items()
        if found.records[topic] < bound
    ]


def _largest(numbers: Sequence[Mapping[str, int]]) -> Counter[str]:
    largest = Counter[str]()
    for one in numbers:
        largest |= Counter(one)
    return largest


def _above(what: str, number: int, bound: int, *changes: str) -> str:
    return "\n".join([f"{what} {number} > {bound}", *(f"    {change}" for change in changes)])


def _by_label(texts: Counter[str]) -> Counter[str]:
    labels = Counter[str]()
    for text, number in texts.items():
        labels[label_of(text)] += number
    return labels

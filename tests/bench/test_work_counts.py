"""Counts of an order's work: statements are grouped by transaction and text, and compared with the budget."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

from services.users.sessions.queries import _REVOCATIONS
from shared.messaging.outbox import lease, pages
from tests.bench.work.budget import Budget, exceeded, savings
from tests.bench.work.statement_log import Statement, label_of, normalised
from tests.bench.work.transactions import counts_of, lease_renewals, least_of, transactions_of

RESET = "SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL"
BUDGET = Budget(
    statements={"users": Counter(), "orders": Counter({"SELECT a": 2, "UPDATE b": 1}), "notifications": Counter()},
    commits=Counter(users=0, orders=1, notifications=0),
    records=Counter(orders=1),
    poll_statements={"users": 5, "orders": 5, "notifications": 5},
    idle_statements_per_second={"users": 5, "orders": 5, "notifications": 5},
)


def _executed(session: int, *texts: str) -> list[Statement]:
    return [Statement("orders", session, text) for text in texts]


def test_a_reset_belongs_to_the_transaction_before_it_and_a_ping_is_one_of_its_own() -> None:
    found = transactions_of(
        [
            *_executed(1, "BEGIN", "ROLLBACK", "BEGIN", "INSERT INTO a"),
            *_executed(2, "SELECT poll", RESET),
            *_executed(1, "ROLLBACK TO SAVEPOINT s", "COMMIT", "SELECT next"),
        ]
    )
    assert [one.texts for one in found] == [
        ["BEGIN", "ROLLBACK"],
        ["BEGIN", "INSERT INTO a", "ROLLBACK TO SAVEPOINT s", "COMMIT"],
        ["SELECT poll", RESET],
        ["SELECT next"],
    ]


def test_the_smallest_count_leaves_out_what_only_some_orders_saw() -> None:
    idle = {one.shape for one in transactions_of(_executed(1, "SELECT poll"))}
    windows = [
        counts_of(transactions_of(_executed(1, "SELECT poll", "SELECT a", *more)), idle_shapes=idle)
        for more in (["SELECT a", "DELETE old"], ["SELECT a", "SELECT a"])
    ]
    found = least_of(windows, services=["orders"])
    assert found.own == {"orders": Counter({"SELECT a": 2})}
    assert found.polls == {"orders": Counter({"SELECT poll": 1})}
    assert found.transactions == {"orders": 3}


def test_the_read_of_revoked_sessions_counts_as_a_poll() -> None:
    """A process that verifies tokens causes one each second, for one order or for a thousand."""
    texts = ("BEGIN", normalised(str(_REVOCATIONS)), "ROLLBACK")
    counts = counts_of(transactions_of(_executed(1, *texts)), idle_shapes=())
    assert (counts.own, counts.polls) == ({}, {"orders": Counter(texts)})


def test_a_renewal_of_a_lease_is_told_from_a_move_that_renews_it_too() -> None:
    executed = _executed(1, normalised(lease._RENEW), normalised(pages._MOVE))
    assert lease_renewals(transactions_of(executed)) == Counter(orders=1)


def test_a_statement_is_counted_whatever_its_literals_and_numbers() -> None:
    assert normalised("SELECT 'it''s', 10, $1 -- why\n  FROM t1;\n") == "SELECT ?, ?, $1 FROM t1"
    assert normalised("SAVEPOINT sa_savepoint_17") == normalised("SAVEPOINT sa_savepoint_2")


def test_a_label_keeps_what_a_statement_is_about() -> None:
    select = "SELECT thing.id, thing.name, thing.price_cents, thing.stock FROM thing WHERE id = $1"
    assert label_of(select) == "SELECT ... FROM thing WHERE id = $1"
    insert = "INSERT INTO thing (id, name) VALUES ($1::INTEGER, $2::VARCHAR)"
    assert label_of(insert) == "INSERT INTO thing (...) VALUES ($...)"


def test_a_count_above_the_budget_is_named_with_its_statements() -> None:
    found = replace(
        BUDGET,
        statements=dict(BUDGET.statements, orders=Counter({"SELECT a": 1, "UPDATE b": 1, "UPDATE c": 2})),
        commits=Counter(orders=2),
        records=Counter(orders=1, users=1),
        poll_statements=dict(BUDGET.poll_statements, users=6),
    )
    assert exceeded(BUDGET, found) == [
        "users: statements of polls 6 > 5",
        "orders: statements 4 > 3\n    +2 UPDATE c\n    -1 SELECT a",
        "orders: commits that write 2 > 1",
        "records in users 1 > 0",
    ]
    assert exceeded(BUDGET, BUDGET) == []


def test_a_count_below_the_budget_fails_nothing_and_is_told() -> None:
    found = replace(BUDGET, commits=Counter(), statements=dict(BUDGET.statements, orders=Counter()))
    assert exceeded(BUDGET, found) == []
    assert savings(BUDGET, found) == ["orders: statements 0 < 3", "orders: commits that write 0 < 1"]


def test_a_new_budget_allows_what_only_some_counts_saw() -> None:
    other = replace(BUDGET, commits=Counter(users=2), poll_statements=dict(BUDGET.poll_statements, orders=9))
    found = Budget.of_all([BUDGET, other])
    assert found.commits == Counter(users=2, orders=1)
    assert found.poll_statements == {"users": 5, "orders": 9, "notifications": 5}
    assert found.statements == BUDGET.statements


def test_a_budget_is_read_as_it_was_written(tmp_path: Path) -> None:
    BUDGET.write(tmp_path / "budget.toml")
    assert Budget.read(tmp_path / "budget.toml") == BUDGET

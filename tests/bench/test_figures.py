"""Ratios, goals, and the tables that show them."""

from pathlib import Path
from typing import Any

import pytest

from tests.bench.figures import Change, Figure, changes_of, joined
from tests.bench.report import BEGIN, END, MarkersMissing, as_markdown, write_between_markers


def figure(*values: float, baseline_values: tuple[float, ...] = (), **changed: Any) -> Figure:
    """A rate, of one round and without a baseline if nothing else is said."""
    usual = {"bench": "relay", "what": "rate", "unit": "events/s", "better": "more"}
    return Figure(**{**usual, "values": values or (100.0,), "baseline_values": baseline_values, **changed})


def delay(*values: float, baseline_values: tuple[float, ...] = (2.0,), **changed: Any) -> Figure:
    """In milliseconds, beside a baseline."""
    usual = {"what": "delay", "unit": "ms", "better": "less", "baseline": "bare", "baseline_values": baseline_values}
    return figure(*values, **{**usual, **changed})


def test_the_ratio_is_of_both_sides_medians_over_the_rounds() -> None:
    rounds = [
        [figure(value, baseline="bare", baseline_values=(bare,), goal=0.5), delay(value)]
        for value, bare in ((900, 1), (100, 1000), (500, 2000))
    ]
    rate, _ = joined(rounds)
    assert rate == figure(900, 100, 500, baseline="bare", baseline_values=(1, 1000, 2000), goal=0.5)
    assert (rate.value, rate.baseline_value, rate.ratio) == (500, 1000, 0.5)
    assert rate.is_met is True
    assert joined([]) == []


@pytest.mark.parametrize(
    ("measured", "is_met"),
    [
        (figure(), None),
        (figure(goal=100), True),
        (figure(goal=101), False),
        (figure(goal=0.5, baseline="bare", baseline_values=(200,)), True),
        (figure(goal=0.6, baseline="bare", baseline_values=(200,)), False),
        (delay(5, limit=5), True),
        (delay(5.1, limit=5), False),
        (delay(4, limit=5, goal=2), True),
        (delay(4.1, limit=5, goal=2), False),
    ],
)
def test_a_goal_is_for_the_ratio_and_a_limit_for_the_value(measured: Figure, is_met: bool | None) -> None:
    assert measured.is_met is is_met


def test_what_has_two_baselines_changes_once_with_its_first() -> None:
    before = [figure(baseline="bare", baseline_values=(1,)), figure(baseline="rival", baseline_values=(2,)), delay(1)]
    after = [figure(89, baseline="bare", baseline_values=(1,)), figure(89, baseline="rival", baseline_values=(2,))]
    assert changes_of(before, after) == [Change(before[0], after[0])]


@pytest.mark.parametrize(
    ("change", "is_met"),
    [
        (Change(figure(), figure(90)), True),
        (Change(figure(), figure(89)), False),
        (Change(figure(), figure(200)), True),
        (Change(delay(10), delay(10.9)), True),
        (Change(delay(10), delay(11.1)), False),
        (Change(delay(10), delay(1)), True),
        (Change(delay(10), delay(20, baseline_values=(4,))), True),
        (Change(delay(10), delay(10, baseline_values=(1.8,))), False),
        (Change(delay(10, baseline_has_rows=True), delay(11.1, baseline_values=(4,), baseline_has_rows=True)), False),
    ],
)
def test_a_change_for_the_worse_may_be_a_tenth(change: Change, is_met: bool) -> None:
    assert change.is_met is is_met


def test_a_change_is_between_rounds_that_stand_side_by_side() -> None:
    change = Change(delay(10, 20, 40, baseline_has_rows=True), delay(11, 18, 41, baseline_has_rows=True))
    assert change.percent == pytest.approx(2.5)
    assert change.extremes == pytest.approx((-10, 10))
    change = Change(delay(10, 20, baseline_values=(1, 4)), delay(10, 40, baseline_values=(1, 4)))
    assert change.percent == pytest.approx(50)


def test_the_markdown_names_the_machine_and_the_command() -> None:
    rate = figure(9876.5, baseline="bare", baseline_values=(20000,), goal=0.5)
    slow = delay(4.321, limit=5)
    markdown = as_markdown(
        [rate, slow],
        [Change(slow, delay(4.0))],
        rows=1_000_000,
        machine={"CPU": "one, 2 cores", "Kafka": "4"},
        command="python -m tests.bench --rounds 3",
    )
    assert markdown == (
        "Measured with `python -m tests.bench --rounds 3` on:\n\n"
        "- CPU: one, 2 cores\n- Kafka: 4\n\n"
        "| what | reached | against | ratio | goal | met |\n"
        "| --- | --- | --- | --- | --- | --- |\n"
        "| relay: rate | 9,876 events/s | bare: 20,000 events/s | 0.49 | at least 0.5 times | NO |\n"
        "| relay: delay | 4.32 ms | bare: 2.00 ms | 2.16 | at most 5 ms | yes |\n\n"
        "With 1,000,000 rows in every table:\n\n"
        "| what | before | after | change | by round | goal | met |\n"
        "| --- | --- | --- | --- | --- | --- | --- |\n"
        "| relay: delay | 4.32 ms (2.16) | 4.00 ms (2.00) | -7.4 % | -7 to -7 % | no worse by more than 10 % | yes |"
    )


def test_a_document_keeps_all_that_is_not_between_the_markers(tmp_path: Path) -> None:
    document = tmp_path / "benchmarks.md"
    document.write_text(f"# How fast\n\nRead this.\n\n{BEGIN}\n\nold\n\n{END}\n\nAnd that.\n")
    write_between_markers(document, "new")
    write_between_markers(document, "newer")
    assert document.read_text() == f"# How fast\n\nRead this.\n\n{BEGIN}\n\nnewer\n\n{END}\n\nAnd that.\n"


def test_a_document_without_markers_gets_them_at_its_end(tmp_path: Path) -> None:
    document, missing = tmp_path / "old.md", tmp_path / "new.md"
    document.write_text("# How fast\n")
    for path in (document, missing):
        write_between_markers(path, "new")
    assert document.read_text() == f"# How fast\n\n{BEGIN}\n\nnew\n\n{END}\n"
    assert missing.read_text() == f"# Benchmarks\n\n{BEGIN}\n\nnew\n\n{END}\n"


def test_half_a_pair_of_markers_is_an_error(tmp_path: Path) -> None:
    document = tmp_path / "benchmarks.md"
    document.write_text(f"{BEGIN}\n\nold\n")
    with pytest.raises(MarkersMissing):
        write_between_markers(document, "new")
    assert document.read_text() == f"{BEGIN}\n\nold\n"

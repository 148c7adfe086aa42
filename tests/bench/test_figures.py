"""Ratios, goals, and the tables that show them."""

from pathlib import Path
from typing import Any

import pytest

from tests.bench.figures import Change, Figure, changes_of, compared
from tests.bench.report import BEGIN, END, MarkersMissing, as_markdown, write_between_markers


def figure(**changed: Any) -> Figure:
    """A rate without a baseline."""
    return Figure(**{"bench": "relay", "what": "rate", "value": 100.0, "unit": "events/s", "better": "more", **changed})


def delay(**changed: Any) -> Figure:
    """In milliseconds, beside a baseline."""
    usual = {"what": "delay", "unit": "ms", "better": "less", "baseline": "bare", "baseline_value": 2.0}
    return figure(**{**usual, **changed})


def test_the_ratio_is_of_both_sides_medians() -> None:
    found = compared(
        "relay", "rate", [900, 100, 500], unit="events/s", against="bare", baseline_values=[1, 1000, 2000], goal=0.5
    )
    assert found == figure(value=500, baseline="bare", baseline_value=1000, goal=0.5)
    assert found.ratio == 0.5
    assert found.is_met is True


@pytest.mark.parametrize(
    ("measured", "is_met"),
    [
        (figure(), None),
        (figure(goal=100), True),
        (figure(goal=101), False),
        (figure(goal=0.5, baseline="bare", baseline_value=200), True),
        (figure(goal=0.6, baseline="bare", baseline_value=200), False),
        (delay(value=5, limit=5), True),
        (delay(value=5.1, limit=5), False),
        (delay(value=4, limit=5, goal=2), True),
        (delay(value=4.1, limit=5, goal=2), False),
    ],
)
def test_a_goal_is_for_the_ratio_and_a_limit_for_the_value(measured: Figure, is_met: bool | None) -> None:
    assert measured.is_met is is_met


def test_what_has_two_baselines_changes_once_with_its_first() -> None:
    before = [figure(baseline="bare", baseline_value=1), figure(baseline="rival", baseline_value=2), delay(value=1)]
    after = [figure(value=89, baseline="bare", baseline_value=1), figure(value=89, baseline="rival", baseline_value=2)]
    assert changes_of(before, after) == [Change(before[0], after[0])]


@pytest.mark.parametrize(
    ("change", "is_met"),
    [
        (Change(figure(), figure(value=90)), True),
        (Change(figure(), figure(value=89)), False),
        (Change(figure(), figure(value=200)), True),
        (Change(delay(value=10), delay(value=10.9)), True),
        (Change(delay(value=10), delay(value=11.1)), False),
        (Change(delay(value=10), delay(value=1)), True),
        (Change(delay(value=10), delay(value=20, baseline_value=4)), True),
        (Change(delay(value=10), delay(value=10, baseline_value=1.8)), False),
        (Change(delay(value=10, baseline_has_rows=True), delay(value=11.1, baseline_value=4)), False),
    ],
)
def test_a_change_for_the_worse_may_be_a_tenth(change: Change, is_met: bool) -> None:
    assert change.is_met is is_met


def test_the_markdown_names_the_machine_and_the_command() -> None:
    rate = figure(value=9876.5, baseline="bare", baseline_value=20000, goal=0.5)
    slow = delay(value=4.321, limit=5)
    markdown = as_markdown(
        [rate, slow],
        [Change(slow, delay(value=4.0))],
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
        "| what | before | after | change | goal | met |\n"
        "| --- | --- | --- | --- | --- | --- |\n"
        "| relay: delay | 4.32 ms (2.16) | 4.00 ms (2.00) | -7.4 % | no worse by more than 10 % | yes |"
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

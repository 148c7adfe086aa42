"""What a benchmark found: a figure, what it is measured against, and its goal."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

Better = Literal["more", "less"]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One line of the table. `value` and `baseline_value` are medians over the rounds, in `unit`."""

    bench: str
    what: str
    value: float
    unit: str
    better: Better
    baseline: str | None = None
    """What it is measured against, in the same run."""
    baseline_value: float | None = None
    baseline_has_rows: bool = False
    """Whether it works on the same tables, and so tells nothing of the machine."""
    goal: float | None = None
    """For the ratio where there is a baseline, else for the value: at least, or, where less is better, at most."""
    limit: float | None = None
    """For the value itself, whatever the baseline's is."""

    @property
    def ratio(self) -> float | None:
        """Of the value to the baseline's."""
        return self.value / self.baseline_value if self.baseline_value else None

    @property
    def is_met(self) -> bool | None:
        """Whether goal and limit are kept; None where there is neither."""
        reached = self.value if self.ratio is None else self.ratio
        asked = [
            (got, wanted) for got, wanted in ((reached, self.goal), (self.value, self.limit)) if wanted is not None
        ]
        if not asked:
            return None
        return all(got >= wanted if self.better == "more" else got <= wanted for got, wanted in asked)


def compared(
    bench: str,
    what: str,
    values: Sequence[float],
    *,
    unit: str,
    against: str,
    baseline_values: Sequence[float],
    goal: float | None = None,
    better: Better = "more",
) -> Figure:
    """The medians of the rounds of both sides."""
    return Figure(
        bench=bench,
        what=what,
        value=median(values),
        unit=unit,
        better=better,
        baseline=against,
        baseline_value=median(baseline_values),
        goal=goal,
    )


TOLERATED_CHANGE = 0.1


@dataclass(frozen=True)
class Change:
    """One figure, measured with empty tables and again with full ones."""

    before: Figure
    after: Figure

    @property
    def ratios(self) -> tuple[float, float] | None:
        """Before and after, to a baseline."""
        before, after = self.before.ratio, self.after.ratio
        return None if before is None or after is None else (before, after)

    @property
    def percent(self) -> float:
        """By how much it rose; negative where it fell.

        By the ratio to a baseline that has no such rows, since what changes there is the machine's own pace; else by
        the value.
        """
        values = self.before.value, self.after.value
        before, after = values if self.ratios is None or self.before.baseline_has_rows else self.ratios
        return 100 * (after / before - 1)

    @property
    def is_met(self) -> bool:
        """Whether it got worse by no more than a tenth."""
        worse = self.percent if self.before.better == "less" else -self.percent
        return worse <= 100 * TOLERATED_CHANGE


def changes_of(before: Sequence[Figure], after: Sequence[Figure]) -> list[Change]:
    """Of all that was measured both times, in its order; what has several baselines counts once, with its first."""
    first, second = _by_name(before), _by_name(after)
    return [Change(figure, second[name]) for name, figure in first.items() if name in second]


def _by_name(figures: Sequence[Figure]) -> dict[tuple[str, str], Figure]:
    found: dict[tuple[str, str], Figure] = {}
    for figure in figures:
        found.setdefault((figure.bench, figure.what), figure)
    return found

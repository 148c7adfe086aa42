"""What a benchmark found: a figure, what it is measured against, and its goal."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Literal

Better = Literal["more", "less"]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One line of the table: what each round found, in `unit`; the medians count."""

    bench: str
    what: str
    values: tuple[float, ...]
    unit: str
    better: Better
    baseline: str | None = None
    """What it is measured against, in the same run."""
    baseline_values: tuple[float, ...] = ()
    """In the same rounds."""
    baseline_has_rows: bool = False
    """Whether it works on the same tables, and so tells nothing of the machine."""
    goal: float | None = None
    """For the ratio where there is a baseline, else for the value: at least, or, where less is better, at most."""
    limit: float | None = None
    """For the value itself, whatever the baseline's is."""

    @property
    def value(self) -> float:
        """In the middle of the rounds."""
        return median(self.values)

    @property
    def baseline_value(self) -> float | None:
        """In the middle of the rounds."""
        return median(self.baseline_values) if self.baseline_values else None

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


def joined(rounds: Sequence[Sequence[Figure]]) -> list[Figure]:
    """The lines of several rounds, which are the same in each, as one."""
    return [
        replace(
            lines[0],
            values=tuple(value for line in lines for value in line.values),
            baseline_values=tuple(value for line in lines for value in line.baseline_values),
        )
        for lines in zip(*rounds, strict=True)
    ]


TOLERATED_CHANGE = 0.1


@dataclass(frozen=True)
class Change:
    """One figure, measured with empty tables and with full ones, in turns."""

    before: Figure
    after: Figure

    @property
    def ratios(self) -> tuple[float, float] | None:
        """Before and after, to a baseline."""
        before, after = self.before.ratio, self.after.ratio
        return None if before is None or after is None else (before, after)

    @property
    def percent(self) -> float:
        """By how much it rose, in the middle of the rounds; negative where it fell.

        Each round with rows is set against the one without that ran right beside it: by the ratio to a baseline that
        has no such rows, since what changes there is the machine's own pace; else by the value.
        """
        return median(self._percent_by_round)

    @property
    def extremes(self) -> tuple[float, float]:
        """The lowest and the highest percentage of any round."""
        return min(self._percent_by_round), max(self._percent_by_round)

    @property
    def _percent_by_round(self) -> list[float]:
        rounds = zip(_judged(self.before), _judged(self.after), strict=True)
        return [100 * (after / before - 1) for before, after in rounds]

    @property
    def is_met(self) -> bool:
        """Whether it got worse by no more than a tenth."""
        worse = self.percent if self.before.better == "less" else -self.percent
        return worse <= 100 * TOLERATED_CHANGE


def changes_of(before: Sequence[Figure], after: Sequence[Figure]) -> list[Change]:
    """Of all that was measured both times, in its order; what has several baselines counts once, with its first."""
    first, second = _by_name(before), _by_name(after)
    return [Change(figure, second[name]) for name, figure in first.items() if name in second]


def _judged(figure: Figure) -> Sequence[float]:
    """By round."""
    if not figure.baseline_values or figure.baseline_has_rows:
        return figure.values
    return [value / baseline for value, baseline in zip(figure.values, figure.baseline_values, strict=True)]


def _by_name(figures: Sequence[Figure]) -> dict[tuple[str, str], Figure]:
    found: dict[tuple[str, str], Figure] = {}
    for figure in figures:
        found.setdefault((figure.bench, figure.what), figure)
    return found

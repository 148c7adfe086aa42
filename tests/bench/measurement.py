"""A measured value beside its baseline and its goal, with empty and with full tables."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from statistics import median, quantiles
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One line of the results: a value of each round, of which the median counts."""

    name: str
    values: tuple[float, ...]
    unit: str
    higher_is_better: bool = False
    baseline: str | None = None
    """The name of the value to compare with, measured in the same rounds."""
    baseline_values: tuple[float, ...] = ()
    baseline_uses_tables: bool = False
    """Whether rows in the tables slow the baseline down too."""
    ratio_goal: float | None = None
    """The goal for the ratio to the baseline: a minimum, or, where lower is better, a maximum."""
    max_value: float | None = None
    """The goal for the value itself; not judged beside a `ratio_goal`."""

    @property
    def value(self) -> float:
        return median(self.values)

    @property
    def baseline_value(self) -> float | None:
        return median(self.baseline_values) if self.baseline_values else None

    @property
    def ratio(self) -> float | None:
        return self.value / self.baseline_value if self.baseline_value else None

    @property
    def is_met(self) -> bool | None:
        """Return whether the goal is met; None where there is none."""
        if self.ratio is not None and self.ratio_goal is not None:
            return self.ratio >= self.ratio_goal if self.higher_is_better else self.ratio <= self.ratio_goal
        return None if self.max_value is None else self.value <= self.max_value


def latencies(
    name: str,
    seconds: Sequence[float],
    *,
    baseline: str | None = None,
    baseline_seconds: Sequence[float] = (),
    max_ms: tuple[float | None, float | None] = (None, None),
    **fields: Any,
) -> list[Measurement]:
    """Return the p50 and the p99 of one round, beside those of the baseline. `max_ms`: the goal for each."""
    cuts, baseline_cuts = (quantiles(all_, n=100) if all_ else None for all_ in (seconds, baseline_seconds))
    assert cuts is not None, "nothing was measured"
    return [
        Measurement(
            name=f"{name}, p{percent}",
            values=(1000 * cuts[percent - 1],),
            unit="ms",
            baseline=baseline,
            baseline_values=(1000 * baseline_cuts[percent - 1],) if baseline_cuts else (),
            max_value=max_value,
            **fields,
        )
        for percent, max_value in zip((50, 99), max_ms, strict=True)
    ]


def joined(rounds: Sequence[Sequence[Measurement]]) -> list[Measurement]:
    """Join the measurements of several rounds."""
    return [
        replace(
            same[0],
            values=tuple(value for one in same for value in one.values),
            baseline_values=tuple(value for one in same for value in one.baseline_values),
        )
        for same in zip(*rounds, strict=True)
    ]


MAX_CHANGE = 0.1
"""The goal for full tables: no worse by more than this fraction."""


@dataclass(frozen=True)
class Result:
    """A measurement with empty tables and, if they were measured, with full ones. The rounds of both alternate."""

    empty: Measurement
    full: Measurement | None = None

    @property
    def change(self) -> float | None:
        """The relative change by full tables: the median of each round's change from the one beside it.

        Ratios are compared where the baseline uses no tables, since then the machine's speed cancels out, and values
        otherwise.
        """
        if self.full is None:
            return None
        pairs = zip(_comparable(self.empty), _comparable(self.full), strict=True)
        return median(full / empty - 1 for empty, full in pairs)

    @property
    def is_met(self) -> bool | None:
        """Return whether all goals are met; None where there is none."""
        if self.change is None or self.empty.is_met is False:
            return self.empty.is_met
        return (-self.change if self.empty.higher_is_better else self.change) <= MAX_CHANGE


def results_of(empty: Sequence[Measurement], full: Sequence[Measurement]) -> list[Result]:
    """Pair the measurements; one with several baselines has one change, by the first of them."""
    results: list[Result] = []
    for one, other in zip_longest(empty, full):
        is_repeated = any(result.empty.name == one.name for result in results)
        results.append(Result(one, None if is_repeated else other))
    return results


def _comparable(one: Measurement) -> Sequence[float]:
    if not one.baseline_values or one.baseline_uses_tables:
        return one.values
    return [value / baseline for value, baseline in zip(one.values, one.baseline_values, strict=True)]

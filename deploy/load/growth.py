"""Judges whether a sampled value grows without bound: a regression over the second half of a soak, with a tolerance."""

import math
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from statistics import fmean

from deploy.load.soak_samples import Sample

RULES = Path(__file__).with_name("growth.toml")
MIN_POINTS = 6
"""Samples of the second half without which nothing can be judged."""
STANDARD_ERRORS = 2.0
MIN_ORDERS = 20
"""Orders since the beginning, before which a value per order says nothing."""


@dataclass(frozen=True)
class Tolerance:
    """The accepted growth over the second half: the larger of a share of the mean and an absolute number."""

    share: float
    floor: float


@dataclass(frozen=True)
class Rules:
    """The tolerances by kind of value, and the values that are meant to grow with the orders."""

    tolerances: Mapping[str, Tolerance]
    per_order_share: float
    per_order_floors: Mapping[str, float]
    bounds: Mapping[str, float]
    """The largest accepted values, by patterns of names, of what may grow up to them."""
    per_order: Mapping[str, str]
    """Patterns of names or of tables, and what bounds such a value in the end."""

    @classmethod
    def read(cls, file: Path = RULES) -> "Rules":
        """Read them from a file."""
        content = tomllib.loads(file.read_text(encoding="utf-8"))
        per_order = content["per_order"]
        tolerances = {kind: Tolerance(**each) for kind, each in content["tolerance"].items()}
        return cls(tolerances, per_order["share"], per_order["floors"], content["bounds"], per_order["reasons"])

    def is_per_order(self, name: str) -> bool:
        """Return whether a value is meant to grow with the orders."""
        parts = (name, name.partition("/")[2])
        return any(fnmatch(part, pattern) for part in parts for pattern in self.per_order)

    def bound_of(self, name: str) -> float | None:
        """Return the largest accepted value of what may grow up to it; None for all others."""
        return next((bound for pattern, bound in self.bounds.items() if fnmatch(name, pattern)), None)

    def accepted(self, name: str, mean: float) -> float:
        """Return the accepted growth of a value over the second half, whose mean is `mean`."""
        kind = name.partition("/")[0]
        if self.is_per_order(name):
            return max(self.per_order_share * abs(mean), self.per_order_floors[kind])
        return max(self.tolerances[kind].share * mean, self.tolerances[kind].floor)


@dataclass(frozen=True)
class Growth:
    """The growth of a value over the second half of a soak, by a regression."""

    name: str
    mean: float
    growth: float
    """Over the half, by the regression line."""
    error: float
    """Standard error of the growth."""
    accepted: float
    is_per_order: bool = False
    largest: float = 0
    bound: float | None = None
    """The largest accepted value of what may grow up to it."""

    @property
    def is_unbounded(self) -> bool:
        """Return whether the growth is certainly more than is accepted, or the bound was passed."""
        if self.bound is not None:
            return self.largest > self.bound
        return self.growth - STANDARD_ERRORS * self.error > self.accepted

    @property
    def sentence(self) -> str:
        """The judgement for people."""
        if self.bound is not None:
            return (
                f"{self.name} is {shown(self.name, self.largest)}, above its bound of {shown(self.name, self.bound)}."
            )
        unit = " per order" if self.is_per_order else ""
        return (
            f"{self.name} grows: by {shown(self.name, self.growth)}{unit} over the second half, from a mean of"
            f" {shown(self.name, self.mean)}{unit} (accepted: {shown(self.name, self.accepted)}{unit})."
        )


def growths_of(samples: Sequence[Sample], rules: Rules) -> list[Growth]:
    """Return the growth of every value of the samples."""
    names = sorted({name for sample in samples for name in sample.values})
    return [growth for name in names for growth in _growth_of(name, samples, rules)]


def restarted(samples: Sequence[Sample]) -> list[str]:
    """Return a sentence for each process that was restarted: its memory began again, and hides growth."""
    names = sorted({name for sample in samples for name in sample.pids})
    changed = [name for name in names if len({sample.pids[name] for sample in samples if name in sample.pids}) > 1]
    return [f"{name} was restarted during the soak, so its growth cannot be judged." for name in changed]


def shown(name: str, value: float) -> str:
    """Return a value with the unit of its kind."""
    if name.partition("/")[0] in {"memory", "bytes", "disk"} or name == "valkey/memory":
        return f"{value / 1024:,.1f} kB" if abs(value) < 1024 * 1024 else f"{value / 1024 / 1024:,.1f} MB"
    return f"{value:,.2f}" if abs(value) < 10 else f"{value:,.0f}"


def per_order(name: str, samples: Sequence[Sample]) -> list[tuple[float, float]]:
    """Return the times, and the growth of a value since the first sample divided by the orders placed since then."""
    first = next(sample for sample in samples if name in sample.values)
    return [
        (sample.at, (sample.values[name] - first.values[name]) / (sample.orders - first.orders))
        for sample in samples
        if name in sample.values and sample.orders - first.orders >= MIN_ORDERS
    ]


def _growth_of(name: str, samples: Sequence[Sample], rules: Rules) -> Iterator[Growth]:
    is_per_order = rules.is_per_order(name)
    points = (
        per_order(name, samples)
        if is_per_order
        else [(sample.at, sample.values[name]) for sample in samples if name in sample.values]
    )
    middle = (samples[0].at + samples[-1].at) / 2
    half = [point for point in points if point[0] >= middle]
    if len(half) < MIN_POINTS:
        return
    mean = fmean(value for _, value in half)
    growth, error = _regression(half)
    yield Growth(
        name=name,
        mean=mean,
        growth=growth,
        error=error,
        accepted=rules.accepted(name, mean),
        is_per_order=is_per_order,
        largest=max(value for _, value in points),
        bound=rules.bound_of(name),
    )


def _regression(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return how far the least-squares line rises over the points, and the standard error of that."""
    mean_at, mean = fmean(at for at, _ in points), fmean(value for _, value in points)
    spread = sum((at - mean_at) ** 2 for at, _ in points)
    slope = sum((at - mean_at) * (value - mean) for at, value in points) / spread
    residuals = sum((value - mean - slope * (at - mean_at)) ** 2 for at, value in points)
    duration = points[-1][0] - points[0][0]
    return slope * duration, math.sqrt(residuals / (len(points) - 2) / spread) * duration

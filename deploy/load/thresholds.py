"""The thresholds of a load: read from a file, and compared with what was measured."""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deploy.load.summary import Summary
from deploy.local.process import LocalError

DEFAULT_FILE = Path(__file__).with_name("thresholds.toml")
SOAK_FILE = Path(__file__).with_name("soak.toml")
DEFAULT_ROUTE = "default"

NotNegative = Annotated[float, Field(ge=0)]


class ThresholdsInvalid(LocalError):
    """The file of thresholds cannot be used."""


class Thresholds(BaseModel):
    """The largest accepted values. A missing one is not judged."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    error_rate: Annotated[float, Field(ge=0, le=1)] | None = None
    saga_p99_seconds: NotNegative | None = None
    outbox_age_at_end_seconds: NotNegative | None = None
    pending_share: Annotated[float, Field(ge=0, le=1)] | None = None
    route_p99_milliseconds: dict[str, NotNegative] = Field(default_factory=dict)
    """Milliseconds by route; `default` is for those that are not named."""


@dataclass(frozen=True)
class Judgement:
    """A measured value beside its threshold. `measured` is None if it could not be measured."""

    name: str
    measured: float | None
    threshold: float
    unit: str

    @property
    def is_missed(self) -> bool:
        """Return whether the value is too high. What could not be measured is not."""
        return self.measured is not None and self.measured > self.threshold

    @property
    def sentence(self) -> str:
        """The judgement for people."""
        if self.measured is None:
            return f"{self.name} was not measured (threshold: {self.shown(self.threshold)})."
        relation = "above" if self.is_missed else "within"
        return f"{self.name} is {self.shown(self.measured)}, {relation} the threshold of {self.shown(self.threshold)}."

    def shown(self, value: float) -> str:
        """Return a value with its unit."""
        if self.unit == "%":
            return f"{value:.2%}"
        return f"{value:,.0f} {self.unit}" if value >= 100 else f"{value:.3g} {self.unit}"


def read_thresholds(file: Path) -> Thresholds:
    """Read the thresholds. Raises: ThresholdsInvalid."""
    try:
        return Thresholds.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise ThresholdsInvalid(f"{file} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ThresholdsInvalid(f"{file} is not valid TOML: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ThresholdsInvalid(f"{file}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def judged(summary: Summary, thresholds: Thresholds) -> list[Judgement]:
    """Compare what was measured with each threshold. A load that did nothing misses one of its own."""
    return [*_judged(summary, thresholds)]


def _judged(summary: Summary, thresholds: Thresholds) -> Iterator[Judgement]:
    if not summary.decided["confirmed"]:
        # Otherwise a target that is down would pass, since nothing is slow.
        yield Judgement("The number of loads without a confirmed order", 1, 0, "loads")
    if thresholds.error_rate is not None:
        yield Judgement("The error rate", summary.error_rate, thresholds.error_rate, "%")
    if thresholds.saga_p99_seconds is not None:
        measured = summary.saga.p99 if summary.saga else None
        yield Judgement("The p99 from POST to confirmed", measured, thresholds.saga_p99_seconds, "s")
    if thresholds.outbox_age_at_end_seconds is not None:
        measured = summary.outbox_age_at_end_seconds
        yield Judgement("The outbox age at the end", measured, thresholds.outbox_age_at_end_seconds, "s")
    if thresholds.pending_share is not None:
        measured = summary.pending / summary.placed if summary.placed else None
        yield Judgement("The share of pending orders", measured, thresholds.pending_share, "%")
    by_route = thresholds.route_p99_milliseconds
    for route, latency in summary.routes.items():
        limit = by_route.get(route, by_route.get(DEFAULT_ROUTE))
        if limit is not None:
            yield Judgement(f"The p99 of {route}", latency.p99, limit, "ms")

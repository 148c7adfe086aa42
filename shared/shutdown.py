"""The steps of a process that stops: which one it is in, and how long each took, in the log and on the health page."""

import time
from datetime import UTC, datetime
from typing import Literal

import structlog
from pydantic import BaseModel, Field

logger = structlog.get_logger(__name__)

Step = Literal["readiness", "listener", "requests", "consumers", "jobs", "relay", "pool"]
"""Steps in the order in which they happen: not ready, while load balancers notice; no new connections; the open
requests; the current batches; the current jobs; the last events; the connections to the database and to Valkey."""


class StepReport(BaseModel):
    """One step, and its duration so far."""

    step: Step
    status: Literal["running", "done"]
    duration_ms: float = Field(examples=[12.5])


class ShutdownReport(BaseModel):
    """The steps that have begun."""

    began_at: datetime
    steps: list[StepReport]


class Shutdown:
    """The shutdown of one process. A step ends where the next one begins."""

    def __init__(self) -> None:
        self._began_at: datetime | None = None
        self._began = 0.0
        self._steps: dict[Step, float] = {}
        self._ended: float | None = None

    @property
    def has_begun(self) -> bool:
        """Return whether the process is stopping."""
        return self._began_at is not None

    def begin(self) -> None:
        """Note that the process stops from now on. Safe in a signal handler: it writes nothing."""
        if self._began_at is None:
            self._began_at, self._began = datetime.now(UTC), time.monotonic()

    def enter(self, step: Step) -> None:
        """End the current step and begin this one, unless it has begun before."""
        self.begin()
        if step in self._steps:
            return
        now = time.monotonic()
        self._log_end(now)
        self._steps[step] = now if self._steps else self._began
        logger.info("shutdown_step_began", step=step)

    def end(self) -> None:
        """End the last step."""
        self._ended = time.monotonic()
        self._log_end(self._ended)

    def report(self) -> ShutdownReport | None:
        """Return the steps so far; None while the process is not stopping."""
        if self._began_at is None:
            return None
        now = self._ended or time.monotonic()
        ends = [*list(self._steps.values())[1:], now]
        steps = [
            StepReport(
                step=step,
                status="running" if end is now and self._ended is None else "done",
                duration_ms=_milliseconds(end - began),
            )
            for (step, began), end in zip(self._steps.items(), ends, strict=False)
        ]
        return ShutdownReport(began_at=self._began_at, steps=steps)

    def _log_end(self, now: float) -> None:
        for step, began in list(self._steps.items())[-1:]:
            logger.info("shutdown_step_ended", step=step, duration_ms=_milliseconds(now - began))


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 1)

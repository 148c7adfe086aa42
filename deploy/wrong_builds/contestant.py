"""One side of a comparison: a build, its load, and what was counted of it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

import structlog

from deploy.local.control_protocol import BuildCounts
from deploy.wrong_builds.build import Build
from deploy.wrong_builds.load import OrderLoad
from deploy.wrong_builds.sources import sources_of
from deploy.wrong_builds.survey import BOUND_SECONDS, Findings, Survey

logger = structlog.get_logger(__name__)

SURVEY_INTERVAL_SECONDS = 1.0
SETTLED_SECONDS = 30.0
"""Age of an order after which a survey that found nothing is its last: a cancellation may come late."""


@dataclass(kw_only=True)
class Contestant:
    """A build under load."""

    build: Build
    load: OrderLoad
    findings: Findings = field(default_factory=Findings)
    surveys: int = 0
    """Surveys that were completed."""
    _settled: set[str] = field(default_factory=set)

    def counts(self) -> BuildCounts:
        """Return the counters."""
        return self.findings.counts(accepted=len(self.load.accepted), failed=self.load.failed)

    async def survey(self) -> None:
        """Repeat surveys of the orders. Faults only delay them."""
        async with sources_of(self.build) as sources:
            survey = Survey(sources)
            while True:
                due = self._due()
                try:
                    await survey.run([UUID(each) for each in due], self.findings)
                except TimeoutError:
                    logger.warning("survey_given_up", build=self.build.name)
                else:
                    self._settle(due)
                    self.surveys += 1
                await asyncio.sleep(SURVEY_INTERVAL_SECONDS)

    def _due(self) -> list[str]:
        oldest = asyncio.get_running_loop().time() - BOUND_SECONDS
        return [each for each, at in self.load.accepted.items() if at <= oldest and each not in self._settled]

    def _settle(self, surveyed: Sequence[str]) -> None:
        oldest = asyncio.get_running_loop().time() - SETTLED_SECONDS
        self._settled.update(
            each for each in surveyed if self.load.accepted[each] <= oldest and self.findings.is_settled(UUID(each))
        )

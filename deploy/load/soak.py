"""The soak: a steady load for long, while everything that must not grow is sampled."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace

from deploy.load.command import Options, Outcome, opened_target, sent_load
from deploy.load.growth import Growth, Rules, growths_of, restarted
from deploy.load.live import LiveView
from deploy.load.run import prepare
from deploy.load.soak_samples import Sample, Sampler
from deploy.local.process import LocalError
from deploy.local.screen import Screen
from deploy.local.settings import LocalSettings
from deploy.local.state import read_state


@dataclass(frozen=True, kw_only=True)
class SoakOutcome:
    """A soak that has ended."""

    load: Outcome
    samples: list[Sample]
    growths: list[Growth]
    rules: Rules

    @property
    def failures(self) -> list[str]:
        """A sentence for each value that grows, process that was restarted, and threshold that is missed."""
        return [
            *(growth.sentence for growth in self.growths if growth.is_unbounded),
            *restarted(self.samples),
            *(judgement.sentence for judgement in self.load.missed),
            *([] if self.growths else ["The soak was too short to judge any growth."]),
        ]


async def run_soak(options: Options, *, interval_seconds: float, screen: Screen) -> bool:
    """Run a soak of the local system, write its report, and return whether nothing grows. Raises: LocalError."""
    settings = LocalSettings()
    async with opened_target(options, screen=screen) as target:
        plan = await prepare(replace(options.plan, url=target.url), target, accounts=options.accounts, screen=screen)
        state = read_state(settings.folder)
        if state is None:
            raise LocalError("The system has stopped.")
        screen.note(f"Soak of {target.url}: {plan.described()} (seed {plan.seed}).")
        live = LiveView()
        async with Sampler(settings.folder, state).connected() as sampler:
            samples: list[Sample] = []
            async with _sampling(sampler, samples, live, interval_seconds=interval_seconds):
                load = await sent_load(plan, target, options=options, screen=screen, live=live)
    rules = Rules.read()
    outcome = SoakOutcome(load=load, samples=samples, growths=growths_of(samples, rules), rules=rules)
    if options.report is not None:
        from deploy.load.soak_report import write_soak_report  # noqa: PLC0415 - matplotlib takes a second

        screen.note(f"Report: {write_soak_report(outcome, options.report)}")
    for failure in outcome.failures:
        screen.error(failure)
    if not outcome.failures:
        screen.note(f"Nothing grows: {len(outcome.growths)} values in {len(samples)} samples.")
    return not outcome.failures


@asynccontextmanager
async def _sampling(
    sampler: Sampler, samples: list[Sample], live: LiveView, *, interval_seconds: float
) -> AsyncIterator[None]:
    """Take a sample at each interval while the block runs."""
    begun = time.monotonic()

    async def keep_sampling() -> None:
        for number in range(1_000_000):
            await asyncio.sleep(max(0, begun + number * interval_seconds - time.monotonic()))
            state = read_state(sampler.folder)
            if state is not None:
                at = round(time.monotonic() - begun, 1)
                samples.append(await sampler.sample(at=at, orders=live.placed, processes=state["processes"]))

    task = asyncio.create_task(keep_sampling())
    try:
        yield
    finally:
        if not task.done():
            task.cancel()
        with suppress(asyncio.CancelledError):
            await task

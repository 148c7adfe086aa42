"""`python -m tests.chaos`: seeded workloads under seeded faults, then the invariants; exit status 1 on any breach."""

import asyncio
import logging
import random
import shutil
import tempfile
from collections.abc import Collection
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import structlog
import typer

from deploy.demo.invariants import Finding
from deploy.local.screen import Screen
from tests.chaos.accounts import WORKLOADS
from tests.chaos.campaign import Outcome, run_campaign
from tests.chaos.faults import FAULTS
from tests.chaos.ground import Ground, prepared_ground
from tests.chaos.oracle import broken
from tests.chaos.report import faults_table, invariants_table, line_of
from tests.chaos.saga import Whole, run_saga, whole_system
from tests.chaos.saga_faults import SAGA_FAULTS, SAGA_WORKLOADS

ALL_WORKLOADS = (*WORKLOADS, *SAGA_WORKLOADS)
ALL_FAULTS = tuple(dict.fromkeys((*FAULTS, *SAGA_FAULTS)))

cli = typer.Typer(
    help="Break the system on purpose, and see whether it keeps its promises.",
    add_completion=False,
    pretty_exceptions_enable=False,
)


@cli.command()
def run(
    *,
    seeds: Annotated[int, typer.Option(min=1, help="How many campaigns; the workloads take turns.")] = 12,
    seconds: Annotated[float, typer.Option(min=1, help="Of work under faults, for each.")] = 60,
    seed: Annotated[int | None, typer.Option(help="The first seed; the others follow it. Default: by chance.")] = None,
    workload: Annotated[str, typer.Option(help=f"Of {', '.join(ALL_WORKLOADS)}.")] = ",".join(ALL_WORKLOADS),
    faults: Annotated[str, typer.Option(help=f"Of {', '.join(ALL_FAULTS)}.")] = ",".join(ALL_FAULTS),
    every_seconds: Annotated[float, typer.Option(min=0.1, help="Between two faults, on the average.")] = 3,
    brokers: Annotated[int, typer.Option(min=1, max=3, help="Nodes of the Kafka cluster.")] = 3,
    keep: Annotated[bool, typer.Option(help="Keep the folder with logs and data.")] = False,
) -> None:
    """Run campaigns, print a line for each, and the tables. Lists are comma-separated."""
    first = random.SystemRandom().randrange(1, 1_000_000) if seed is None else seed
    folder = Path(tempfile.mkdtemp(prefix="orderly-chaos-"))
    # Clients complain of every broker that is hurt.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    campaigns = Campaigns(
        screen=Screen(),
        seeds=range(first, first + seeds),
        seconds=seconds,
        workloads=_named(workload, ALL_WORKLOADS),
        faults=_named(faults, ALL_FAULTS),
        every_seconds=every_seconds,
    )
    campaigns.screen.note(f"seed {first}, {seeds} campaigns of {seconds:.0f} s, {brokers} broker(s); logs in {folder}")
    outcomes: list[Outcome] = []
    try:
        asyncio.run(campaigns.run(folder, brokers=brokers, outcomes=outcomes))
    finally:
        # What was found counts, however the run ended.
        campaigns.screen.table(faults_table(outcomes))
        campaigns.screen.table(invariants_table(outcomes))
    is_whole = all(outcome.is_whole for outcome in outcomes)
    if is_whole and not keep:
        shutil.rmtree(folder, ignore_errors=True)
    raise typer.Exit(0 if is_whole else 1)


@dataclass(frozen=True, kw_only=True)
class Campaigns:
    """What was asked for."""

    screen: Screen
    seeds: range
    seconds: float
    workloads: list[str]
    faults: list[str]
    every_seconds: float

    async def run(self, folder: Path, *, brokers: int, outcomes: list[Outcome]) -> None:
        """One after the other, each added to `outcomes`; the whole system starts when the first saga needs it."""
        async with AsyncExitStack() as stack:
            ground = await stack.enter_async_context(prepared_ground(folder, brokers=brokers))
            whole: Whole | None = None
            for number, seed in enumerate(self.seeds):
                name = self.workloads[number % len(self.workloads)]
                try:
                    if name in SAGA_WORKLOADS:
                        if whole is None:
                            whole = await stack.enter_async_context(whole_system(ground))
                        outcome = await self._saga(whole, name, seed=seed)
                    else:
                        outcome = await self._campaign(ground, name, seed=seed)
                except Exception as fault:  # noqa: BLE001 - one that can't be judged is not whole; the others still run
                    outcome = Outcome(seed=seed, workload=name, findings=[Finding("can be judged", [repr(fault)])])
                outcomes.append(outcome)
                self.screen.console.print(line_of(outcome))
                for name, violations in broken(outcome.findings).items():
                    self.screen.console.print(f"      {name}: {violations[0]}", style="red", markup=False)

    async def _campaign(self, ground: Ground, workload: str, *, seed: int) -> Outcome:
        return await run_campaign(
            ground,
            WORKLOADS[workload],
            seed=seed,
            seconds=self.seconds,
            faults=self.faults,
            every_seconds=self.every_seconds,
        )

    async def _saga(self, whole: Whole, workload: str, *, seed: int) -> Outcome:
        return await run_saga(
            whole,
            workload=workload,
            seed=seed,
            seconds=self.seconds,
            faults={name: SAGA_FAULTS[name] for name in SAGA_WORKLOADS[workload] if name in self.faults},
            every_seconds=self.every_seconds,
        )


def _named(names: str, known: Collection[str]) -> list[str]:
    """Raises: typer.BadParameter."""
    chosen = [name.strip() for name in names.split(",") if name.strip()]
    if unknown := [name for name in chosen if name not in known]:
        raise typer.BadParameter(f"{', '.join(unknown)}: there is {', '.join(known)}")
    return chosen


if __name__ == "__main__":
    cli()

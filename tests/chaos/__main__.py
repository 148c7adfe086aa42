"""`python -m tests.chaos`: run seeded campaigns and check the invariants; exit status 1 if one is violated."""

import asyncio
import logging
import random
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import structlog
import typer

from deploy.audit.findings import Finding
from deploy.local.screen import Screen
from tests.chaos.accounts import WORKLOADS
from tests.chaos.campaign import CampaignResult, run_campaign
from tests.chaos.faults import FAULTS
from tests.chaos.histories.mutants import MUTANTS
from tests.chaos.history_page.page import Heading, write_history
from tests.chaos.history_page.record import CampaignRecord
from tests.chaos.oracle import violated
from tests.chaos.report import faults_table, invariants_table, summary_line
from tests.chaos.servers import CampaignServers, campaign_servers
from tests.chaos.system import SystemUnderTest, system_under_test
from tests.chaos.system_campaign import run_system_campaign
from tests.chaos.system_faults import GREYLISTING, SYSTEM_WORKLOADS
from tests.chaos.upgrade.__main__ import cli as upgrade_cli
from tests.harness.cli import chosen

ALL_WORKLOADS = (*WORKLOADS, *SYSTEM_WORKLOADS)
DEFAULT_WORKLOADS = tuple(name for name in ALL_WORKLOADS if name != GREYLISTING)
"""Each of them takes a few minutes at most; greylisting waits until the mails were accepted."""
ALL_FAULTS = tuple(FAULTS | {name: fault for faults in SYSTEM_WORKLOADS.values() for name, fault in faults.items()})

cli = typer.Typer(
    help="Inject faults into the running system and check its guarantees.",
    add_completion=False,
    pretty_exceptions_enable=False,
)


@cli.command()
def run(
    *,
    seeds: Annotated[int, typer.Option(min=1, help="Number of campaigns; they take the workloads in turn.")] = 12,
    seconds: Annotated[float, typer.Option(min=1, help="Duration of the faults in each campaign.")] = 60,
    seed: Annotated[int | None, typer.Option(help="First seed; the others follow it. Default: random.")] = None,
    workload: Annotated[str, typer.Option(help=f"Any of {', '.join(ALL_WORKLOADS)}.")] = ",".join(DEFAULT_WORKLOADS),
    faults: Annotated[str, typer.Option(help=f"Any of {', '.join(ALL_FAULTS)}.")] = ",".join(ALL_FAULTS),
    every_seconds: Annotated[float, typer.Option(min=0.1, help="Mean time between two faults.")] = 3,
    brokers: Annotated[int, typer.Option(min=1, max=3, help="Number of Kafka brokers.")] = 3,
    greylisting_seconds: Annotated[
        float, typer.Option(min=1, help="Time for which the workload greylisting turns each recipient away.")
    ] = 600,
    keep: Annotated[bool, typer.Option(help="Keep the folder with logs and data.")] = False,
    mutant: Annotated[
        str | None,
        typer.Option(help=f"Plant a mutant in orders, any of {', '.join(MUTANTS)}: the campaign orders has to fail."),
    ] = None,
    history: Annotated[
        bool, typer.Option(help="Write history.html for campaigns that pass too, not only for those that fail.")
    ] = False,
) -> None:
    """Run campaigns and print their results. Lists are comma-separated."""
    if mutant not in {None, *MUTANTS}:
        raise typer.BadParameter(f"unknown; known: {', '.join(MUTANTS)}", param_hint="--mutant")
    first = random.SystemRandom().randrange(1, 1_000_000) if seed is None else seed
    workloads, chosen_faults = chosen(workload, known=ALL_WORKLOADS), chosen(faults, known=ALL_FAULTS)
    folder = Path(tempfile.mkdtemp(prefix="orderly-chaos-"))
    # The Kafka clients log an error for every broker that a fault takes down.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    campaigns = Campaigns(
        screen=Screen(),
        seeds=range(first, first + seeds),
        seconds=seconds,
        workloads=workloads,
        faults=chosen_faults,
        mean_interval_seconds=every_seconds,
        greylisting_seconds=greylisting_seconds,
        writes_history_of_all=history,
        mutant=mutant,
    )
    campaigns.screen.note(f"seed {first}, {seeds} campaigns of {seconds:.0f} s, {brokers} broker(s); logs in {folder}")
    passed = _run_and_report(campaigns, folder, brokers=brokers)
    if passed and not keep:
        shutil.rmtree(folder, ignore_errors=True)
    raise typer.Exit(0 if passed else 1)


def _run_and_report(campaigns: "Campaigns", folder: Path, *, brokers: int) -> bool:
    """Run the campaigns, print their results, and return whether all have passed."""
    results: list[CampaignResult] = []
    try:
        asyncio.run(campaigns.run(folder, brokers=brokers, results=results))
    finally:
        # Show the results so far, even when the run is interrupted.
        campaigns.screen.table(faults_table(results))
        campaigns.screen.table(invariants_table(results))
    return all(result.passed for result in results)


@dataclass(frozen=True, kw_only=True)
class Campaigns:
    """The campaigns of one command line."""

    screen: Screen
    seeds: range
    seconds: float
    workloads: Sequence[str]
    faults: Sequence[str]
    mean_interval_seconds: float
    greylisting_seconds: float
    writes_history_of_all: bool
    mutant: str | None = None
    """A mutant of the orders service in the whole system."""

    async def run(self, folder: Path, *, brokers: int, results: list[CampaignResult]) -> None:
        """Run one campaign after the other and add each to `results`; start the whole system when one needs it."""
        async with AsyncExitStack() as stack:
            servers = await stack.enter_async_context(campaign_servers(folder, brokers=brokers))
            system: SystemUnderTest | None = None
            for number, seed in enumerate(self.seeds):
                workload = self.workloads[number % len(self.workloads)]
                record = CampaignRecord()
                try:
                    if workload in WORKLOADS:
                        result = await self._on_small_services(servers, workload, seed=seed, record=record)
                    else:
                        if system is None:
                            system = await stack.enter_async_context(system_under_test(servers, mutant=self.mutant))
                            record = CampaignRecord()  # its time begins when the system has started
                        result = await self._on_whole_system(system, workload, seed=seed, record=record)
                except Exception as error:  # noqa: BLE001 - a campaign without findings has failed; the others still run
                    finding = Finding("The campaign ends with findings", [repr(error)])
                    result = CampaignResult(seed=seed, workload=workload, findings=[finding])
                results.append(result)
                await self.report(result, record, folder=histories_of(folder))

    async def report(self, result: CampaignResult, record: CampaignRecord, *, folder: Path) -> None:
        """Print the result, and write the history of a campaign that has failed."""
        self.screen.console.print(summary_line(result))
        for name, violations in violated(result.findings).items():
            self.screen.console.print(f"      {name}: {violations[0]}", style="red", markup=False)
        if self.writes_history_of_all or not result.passed:
            file = folder / f"{result.workload}-{result.seed}" / "history.html"
            await write_history(file, Heading(result.workload, result.seed, result.passed), record, result.findings)
            self.screen.console.print(f"      history: {file}", markup=False, soft_wrap=True)

    async def _on_small_services(
        self, servers: CampaignServers, workload: str, *, seed: int, record: CampaignRecord
    ) -> CampaignResult:
        return await run_campaign(
            servers,
            WORKLOADS[workload],
            seed=seed,
            seconds=self.seconds,
            faults=self.faults,
            mean_interval_seconds=self.mean_interval_seconds,
            record=record,
        )

    async def _on_whole_system(
        self, system: SystemUnderTest, workload: str, *, seed: int, record: CampaignRecord
    ) -> CampaignResult:
        return await run_system_campaign(
            system,
            workload=workload,
            seed=seed,
            seconds=self.seconds,
            faults={name: fault for name, fault in SYSTEM_WORKLOADS[workload].items() if name in self.faults},
            mean_interval_seconds=self.mean_interval_seconds,
            greylisting_seconds=self.greylisting_seconds,
            record=record,
        )


def histories_of(folder: Path) -> Path:
    """Return the folder of the histories, which stays when the folder of logs and data is removed."""
    return folder.with_name(f"{folder.name}-histories")


if __name__ == "__main__":
    # The campaigns that change versions have other options.
    (upgrade_cli if "--upgrade" in sys.argv else cli)()

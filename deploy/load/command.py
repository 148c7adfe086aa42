"""A load from its options to its report."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from deploy.load.live import LiveView
from deploy.load.plan import Plan
from deploy.load.pool import pool_file
from deploy.load.run import LoadRun, carry_out, prepare
from deploy.load.summary import Summary, summary_of
from deploy.load.tables import summary_table
from deploy.load.target import LoadTarget
from deploy.load.thresholds import Judgement, judged, read_thresholds
from deploy.local.process import LocalError
from deploy.local.screen import Screen


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of a load."""

    plan: Plan
    target: LoadTarget | None
    """None: the system of `make run`."""
    accounts: int
    accounts_file: Path | None
    warm_up_seconds: float
    thresholds_file: Path
    report: Path | None
    """The folder of the report; None for no report."""
    json_lines: bool = False


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A load that has ended: what it measured, and how it is judged."""

    run: LoadRun
    summary: Summary
    judgements: list[Judgement]
    warm_up_seconds: float

    @property
    def missed(self) -> list[Judgement]:
        """The thresholds that are missed."""
        return [judgement for judgement in self.judgements if judgement.is_missed]


async def run_load(options: Options, *, screen: Screen) -> bool:
    """Send the load, show it, write its report, and return whether no threshold is missed.

    Raises: LocalError, RequestFailed, or a group of them.
    """
    async with opened_target(options, screen=screen) as target:
        plan = await prepare(replace(options.plan, url=target.url), target, accounts=options.accounts, screen=screen)
        screen.note(f"Load on {target.url}: {plan.described()} (seed {plan.seed}).")
        outcome = await sent_load(plan, target, options=options, screen=screen)
    _show(outcome, options, screen)
    if options.report is not None:
        # Imported when it is needed: matplotlib takes a second.
        from deploy.load.report import write_report  # noqa: PLC0415

        screen.note(f"Report: {write_report(outcome, options.report)}")
    for missed in outcome.missed:
        screen.error(missed.sentence)
    return not outcome.missed


async def sent_load(
    plan: Plan, target: LoadTarget, *, options: Options, screen: Screen, live: LiveView | None = None
) -> Outcome:
    """Send a prepared load, show each second, and judge it. Raises: LocalError.

    `live`: adds up the seconds for the caller, too.
    """
    thresholds = read_thresholds(options.thresholds_file)
    run, live = LoadRun(plan, target), live or LiveView()
    if options.json_lines:
        await carry_out(run, on_second=lambda second: print(json.dumps(live.add(second)), flush=True))
    else:
        await carry_out(run, on_second=lambda second: live.show(second, screen))
    summary = summary_of(run.seconds, warm_up_seconds=options.warm_up_seconds)
    return Outcome(
        run=run,
        summary=summary,
        judgements=judged(summary, thresholds),
        warm_up_seconds=options.warm_up_seconds,
    )


@asynccontextmanager
async def opened_target(options: Options, *, screen: Screen) -> AsyncIterator[LoadTarget]:
    """Yield the target: the named one, or the system of `make run`, started if need be. Raises: LocalError."""
    if options.target is not None:
        yield options.target
        return
    # What `make run` needs is not installed in a container.
    from deploy.demo.system import running_system  # noqa: PLC0415
    from deploy.local.settings import LocalSettings  # noqa: PLC0415
    from deploy.local.state import read_state  # noqa: PLC0415

    settings = LocalSettings()
    async with running_system(settings, screen=screen):
        state = read_state(settings.folder)
        if state is None:
            raise LocalError("The system has stopped.")
        file = options.accounts_file or pool_file(settings.folder / "load", state["urls"]["gateway"])
        yield LoadTarget.of_state(state, accounts_file=file)


def _show(outcome: Outcome, options: Options, screen: Screen) -> None:
    """Print the summary, and what was not measured."""
    if options.json_lines:
        document = {
            "summary": outcome.summary.as_json(),
            "passed": not outcome.missed,
            "missed": [judgement.sentence for judgement in outcome.missed],
            "missing": outcome.run.target.missing(),
            "stopped": outcome.run.is_stopped,
        }
        print(json.dumps(document), flush=True)
    else:
        screen.table(summary_table(outcome.summary))
    for warning in outcome.summary.warnings:
        screen.note(warning)
    for judgement in outcome.judgements:
        if judgement.measured is None:
            screen.note(judgement.sentence)

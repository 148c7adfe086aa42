"""`python -m tests.bench`: every figure beside its baseline, as a table; exit status 1 if a goal is missed."""

import asyncio
import gc
import logging
import shlex
import shutil
import sys
import tempfile
import traceback
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, TextIO

import structlog
import typer

from deploy.local.screen import Screen
from tests.bench import consuming, delay, memory, poison, relaying, saga
from tests.bench.figures import Change, Figure, changes_of
from tests.bench.machine import machine
from tests.bench.report import as_markdown, changes_table, figures_table, write_between_markers
from tests.bench.setting import Setting, prepared_setting
from tests.chaos.ground import prepared_ground

BENCHES: dict[str, Callable[[Setting], Awaitable[list[Figure]]]] = {
    "relay": relaying.measure,
    "delay": delay.measure,
    "consumer": consuming.measure,
    "poison": poison.measure,
    "memory": memory.measure,
    "saga": saga.measure,
}

cli = typer.Typer(
    help="Measure the system against bare baselines, in one run.", add_completion=False, pretty_exceptions_enable=False
)


@cli.command()
def run(
    *,
    only: Annotated[str, typer.Option(help=f"Of {', '.join(BENCHES)}.")] = ",".join(BENCHES),
    rounds: Annotated[int, typer.Option(min=1, help="How often each contender runs; the median counts.")] = 5,
    events: Annotated[int, typer.Option(min=1_000, help="In each round.")] = 20_000,
    rows: Annotated[
        int, typer.Option(min=0, help="Measure again with so many rows in every table; 0: don't.")
    ] = 1_000_000,
    document: Annotated[Path | None, typer.Option(help="Write the figures into this Markdown file.")] = None,
) -> None:
    """Run the benchmarks and print their figures."""
    folder = Path(tempfile.mkdtemp(prefix="orderly-bench-"))
    # The clients complain of topics that are a moment old.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    with (folder / "bench.log").open("w") as log:
        _log_plainly(log)
        _run(Benchmarks(screen=Screen(), names=_named(only), rounds=rounds, events=events, rows=rows), folder, document)


def _run(benchmarks: "Benchmarks", folder: Path, document: Path | None) -> None:
    # As a service does at its start.
    gc.freeze()
    try:
        asyncio.run(benchmarks.run(folder))
    finally:
        # What was found counts, however the run ended.
        benchmarks.show()
    if document is not None:
        write_between_markers(document, benchmarks.as_markdown())
    if not benchmarks.failed:
        shutil.rmtree(folder, ignore_errors=True)
    raise typer.Exit(0 if benchmarks.is_met else 1)


def _log_plainly(log: TextIO) -> None:
    """Poison is logged with its traceback; to draw it in colours would take seconds."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(log),
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
    )


@dataclass(kw_only=True)
class Benchmarks:
    """What was asked for, and what has been found."""

    screen: Screen
    names: list[str]
    rounds: int
    events: int
    rows: int
    figures: list[Figure] = field(default_factory=list)
    figures_with_rows: list[Figure] = field(default_factory=list)
    machine: dict[str, str] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    @property
    def changes(self) -> list[Change]:
        """Between the two measurements."""
        return changes_of(self.figures, self.figures_with_rows)

    @property
    def is_met(self) -> bool:
        """Whether all was measured, and every goal reached."""
        judged: list[Figure | Change] = [*self.figures, *self.changes]
        return not self.failed and all(one.is_met is not False for one in judged)

    async def run(self, folder: Path) -> None:
        """Each benchmark with empty tables and at once again with full ones: the machine has its moods."""
        self.screen.note(f"logs in {folder}")
        async with AsyncExitStack() as stack:
            stack.enter_context(self.screen.working())
            ground = await stack.enter_async_context(prepared_ground(folder, brokers=1, durable=True))
            self.machine = await machine(ground.postgres.admin_url)
            sizes = {0: self.figures, self.rows: self.figures_with_rows} if self.rows else {0: self.figures}
            settings = [
                await stack.enter_async_context(
                    prepared_setting(ground, rounds=self.rounds, events=self.events, rows=rows)
                )
                for rows in sizes
            ]
            for name in self.names:
                for setting in settings:
                    sizes[setting.rows] += await self._measured(name, setting)

    async def _measured(self, name: str, setting: Setting) -> list[Figure]:
        size = f", {setting.rows:,} rows in every table" if setting.rows else ""
        try:
            with self.screen.step(f"measuring: {name}{size}", f"{name}{size}"):
                return await BENCHES[name](setting)
        except Exception:  # noqa: BLE001 - one that fails is shown, and the others still run
            self.failed.append(name)
            self.screen.error(f"{name}{size}\n{traceback.format_exc()}")
            return []

    def show(self) -> None:
        """Print the tables."""
        self.screen.table(figures_table(self.figures))
        if self.changes:
            self.screen.table(changes_table(self.changes, rows=self.rows))

    def as_markdown(self) -> str:
        """For a document."""
        return as_markdown(
            self.figures,
            self.changes,
            rows=self.rows,
            machine=self.machine,
            command=shlex.join(["python", "-m", "tests.bench", *sys.argv[1:]]),
        )


def _named(names: str) -> list[str]:
    """Raises: typer.BadParameter."""
    chosen = [name.strip() for name in names.split(",") if name.strip()]
    if unknown := [name for name in chosen if name not in BENCHES]:
        raise typer.BadParameter(f"{', '.join(unknown)}: there is {', '.join(BENCHES)}")
    return chosen


if __name__ == "__main__":
    cli()

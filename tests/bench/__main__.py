"""`python -m tests.bench`: every figure beside its baseline, as a table; exit status 1 if a goal is missed."""

import asyncio
import logging
import shlex
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, TextIO

import structlog
import typer

from deploy.local.screen import Screen
from shared.garbage_collector import tune_garbage_collector
from tests.bench.consuming import consuming
from tests.bench.delay import delay
from tests.bench.figures import Change, Figure, changes_of, joined
from tests.bench.machine import machine
from tests.bench.memory import memory
from tests.bench.poison import poison
from tests.bench.relaying import relaying
from tests.bench.report import as_markdown, changes_table, figures_table, write_between_markers
from tests.bench.saga import saga
from tests.bench.setting import Round, Setting, prepared_setting
from tests.chaos.ground import prepared_ground

BENCHES: dict[str, Callable[[Setting], AbstractAsyncContextManager[Round]]] = {
    "relay": relaying,
    "delay": delay,
    "consumer": consuming,
    "poison": poison,
    "memory": memory,
    "saga": saga,
}

cli = typer.Typer(
    help="Measure the system against bare baselines, in one run.", add_completion=False, pretty_exceptions_enable=False
)


@cli.command()
def run(
    *,
    only: Annotated[str, typer.Option(help=f"Of {', '.join(BENCHES)}.")] = ",".join(BENCHES),
    rounds: Annotated[int, typer.Option(min=1, help="How often each contender runs; the median counts.")] = 3,
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
    tune_garbage_collector()
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
        """Each benchmark with empty tables and with full ones."""
        self.screen.note(f"logs in {folder}")
        async with AsyncExitStack() as stack:
            stack.enter_context(self.screen.working())
            ground = await stack.enter_async_context(prepared_ground(folder, brokers=1, durable=True))
            self.machine = await machine(ground.postgres.admin_url)
            settings = [
                await stack.enter_async_context(prepared_setting(ground, events=self.events, rows=rows))
                for rows in ([0, self.rows] if self.rows else [0])
            ]
            for name in self.names:
                await self._measure(name, settings)

    async def _measure(self, name: str, settings: Sequence[Setting]) -> None:
        """The rounds with and without rows stand side by side: the machine's pace changes within minutes."""
        found: dict[int, list[list[Figure]]] = {setting.rows: [] for setting in settings}
        try:
            async with AsyncExitStack() as stack:
                rounds: dict[int, Round] = {}
                for setting in settings:
                    with self._step(name, setting.rows, "prepared"):
                        rounds[setting.rows] = await stack.enter_async_context(BENCHES[name](setting))
                for number in range(self.rounds):
                    # In every other round the other way round, so that neither is always the first.
                    order = sorted(rounds, reverse=number % 2 == 1)
                    for rows, figures in (await self._one_round(name, number + 1, rounds, order)).items():
                        found[rows].append(figures)
        except Exception:  # noqa: BLE001 - one that fails is shown, and the others still run
            self.failed.append(name)
            self.screen.error(f"{name}\n{traceback.format_exc()}")
        self.figures += joined(found.pop(0))
        for with_rows in found.values():
            self.figures_with_rows += joined(with_rows)

    async def _one_round(
        self, name: str, number: int, rounds: Mapping[int, Round], order: Sequence[int]
    ) -> dict[int, list[Figure]]:
        found: dict[int, list[Figure]] = {rows: [] for rows in order}
        for position, parts in enumerate(zip(*(rounds[rows] for rows in order), strict=True), start=1):
            for rows, part in zip(order, parts, strict=True):
                of_several = f", part {position} of {len(rounds[rows])}" if len(rounds[rows]) > 1 else ""
                with self._step(name, rows, f"round {number} of {self.rounds}{of_several}"):
                    found[rows] += await part()
        return found

    def _step(self, name: str, rows: int, what: str) -> AbstractContextManager[object]:
        text = f"{name}{f', {rows:,} rows in every table' if rows else ''}: {what}"
        return self.screen.step(text, text)

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

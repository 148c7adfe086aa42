"""`python -m tests.bench`: measure everything beside its baseline; exit status 1 if a goal is missed."""

import asyncio
import logging
import shutil
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, TextIO

import psutil
import structlog
import typer

from deploy.local.screen import Screen
from shared.garbage_collector import tune_garbage_collector
from tests.bench import consumer, delay, memory, overload, poison, relay, saga
from tests.bench.fixtures import Benchmark, Fixtures, prepare_fixtures
from tests.bench.measurement import Measurement, Result, joined, results_of
from tests.bench.report import results_table
from tests.bench.work.run import show_work
from tests.harness.cli import chosen
from tests.harness.supervised_servers import supervised_servers

BENCHMARKS: dict[str, Callable[[Fixtures], AbstractAsyncContextManager[Benchmark]]] = {
    "relay": relay.benchmark,
    "delay": delay.benchmark,
    "consumer": consumer.benchmark,
    "poison": poison.benchmark,
    "memory": memory.benchmark,
    "saga": saga.benchmark,
    "overload": overload.benchmark,
}

WORK = "work"
"""The benchmark of what an order costs. It starts systems of its own and prints tables of its own."""

cli = typer.Typer(
    help="Measure the system beside bare baselines, in one run.", add_completion=False, pretty_exceptions_enable=False
)


@cli.command()
def run(
    *,
    only: Annotated[str, typer.Option(help=f"Any of {', '.join([*BENCHMARKS, WORK])}.")] = ",".join(
        [*BENCHMARKS, WORK]
    ),
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each benchmark; the median counts.")] = 3,
    events: Annotated[int, typer.Option(min=1_000, help="Events in each round.")] = 20_000,
    rows: Annotated[
        int, typer.Option(min=0, help="Measure again with this many rows in every table; 0: do not.")
    ] = 1_000_000,
    against: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, resolve_path=True, help="work: compare with this checkout."),
    ] = None,
) -> None:
    """Run the benchmarks and print their results. `--only` takes a comma-separated list."""
    names = chosen(only, known=[*BENCHMARKS, WORK])
    folder = Path(tempfile.mkdtemp(prefix="orderly-bench-"))
    # aiokafka logs an error for every topic that was created a moment ago.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    bench = Run(screen=Screen(), names=names, rounds=rounds, events=events, rows=rows, against=against)
    with (folder / "bench.log").open("w") as log:
        _log_to(log)
        # As each service does when it starts.
        tune_garbage_collector()
        try:
            asyncio.run(bench.run(folder))
        finally:
            # Show the results so far, even when the run is interrupted.
            if bench.results:
                bench.screen.table(results_table(bench.results))
    if not bench.failed:
        shutil.rmtree(folder, ignore_errors=True)
    raise typer.Exit(0 if bench.passed else 1)


def _log_to(log: TextIO) -> None:
    """Log poison events with plain tracebacks: coloured ones take seconds."""
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
class Run:
    """The benchmarks of one command line, and their results."""

    screen: Screen
    names: Sequence[str]
    rounds: int
    events: int
    rows: int
    against: Path | None
    results: list[Result] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Return whether everything was measured and every goal is met."""
        return not self.failed and all(result.is_met is not False for result in self.results)

    async def run(self, folder: Path) -> None:
        """Run each benchmark with empty tables and, if rows are wanted, with full ones."""
        memory_gib = psutil.virtual_memory().total / 2**30
        self.screen.note(f"{psutil.cpu_count()} cores, {memory_gib:.1f} GiB; logs in {folder}")
        with self.screen.working():
            if names := [name for name in self.names if name != WORK]:
                await self._run_benchmarks(names, folder / "benchmarks")
            if WORK in self.names:
                with self._noted_failure(WORK):
                    await show_work(
                        folder / WORK, self.screen, rows=self.rows, rounds=self.rounds, against=self.against
                    )

    async def _run_benchmarks(self, names: Sequence[str], folder: Path) -> None:
        async with AsyncExitStack() as stack:
            servers = await stack.enter_async_context(supervised_servers(folder, brokers=1, durable=True))
            sizes = [0, self.rows] if self.rows else [0]
            fixtures = [await prepare_fixtures(servers, events=self.events, rows=rows) for rows in sizes]
            for name in names:
                with self._noted_failure(name):
                    await self._measure(name, fixtures)

    @contextmanager
    def _noted_failure(self, name: str) -> Iterator[None]:
        try:
            yield
        except Exception:  # noqa: BLE001 - show the error and run the other benchmarks
            self.failed.append(name)
            self.screen.error(f"{name}\n{traceback.format_exc()}")

    async def _measure(self, name: str, fixtures: Sequence[Fixtures]) -> None:
        """Run the rounds with empty and full tables in turn: the machine's speed changes within minutes."""
        found: dict[int, list[list[Measurement]]] = {one.rows: [] for one in fixtures}
        async with AsyncExitStack() as stack:
            benchmarks: dict[int, Benchmark] = {}
            for one in fixtures:
                with self._step(name, one.rows, "prepared"):
                    benchmarks[one.rows] = await stack.enter_async_context(BENCHMARKS[name](one))
            for number in range(1, self.rounds + 1):
                # Reverse the order in every second round, so that neither always comes first.
                for rows in sorted(benchmarks, reverse=number % 2 == 0):
                    with self._step(name, rows, f"round {number} of {self.rounds}"):
                        found[rows].append(await benchmarks[rows](number))
        full = joined(found[self.rows]) if self.rows else []
        self.results += results_of(joined(found[0]), full)

    def _step(self, name: str, rows: int, what: str) -> AbstractContextManager[None]:
        text = f"{name}{f', {rows:,} rows in every table' if rows else ''}: {what}"
        return self.screen.step(text, text)


if __name__ == "__main__":
    cli()

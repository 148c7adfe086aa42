"""`python -m tests.bench.work`: count what an order costs, time it, compare it with another checkout."""

import asyncio
import logging
import shutil
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from deploy.local.screen import Screen
from deploy.local.state import CHECKOUT
from tests.bench.orders_load import prepared_load
from tests.bench.peers.compared import peers_tables
from tests.bench.work.budget import IDLE_SECONDS, ORDERS, Budget
from tests.bench.work.comparison import compared
from tests.bench.work.lone_orders import count_work
from tests.bench.work.measured_system import measured_system
from tests.bench.work.run import show_counts, show_loads

BUDGET_COUNTS = 4
Checkout: TypeAlias = Annotated[Path, typer.Option(exists=True, file_okay=False, resolve_path=True)]

cli = typer.Typer(help="Measure what an order costs.", add_completion=False, pretty_exceptions_enable=False)


@cli.command()
def counts(*, checkout: Checkout = CHECKOUT, rows: Annotated[int, typer.Option(min=0)] = 0) -> None:
    """Count the statements, commits, records and requests of a lone order; again with `--rows` in every table."""
    _run(lambda folder, screen: show_counts(folder, checkout, screen, rows=rows))


@cli.command()
def loads(*, checkout: Checkout = CHECKOUT) -> None:
    """Time the processes under two loads and on the idle system; measure memory, and the latency of lone orders."""
    _run(lambda folder, screen: show_loads(folder, checkout, screen))


@cli.command()
def compare(
    other: Annotated[Path, typer.Argument(exists=True, file_okay=False, resolve_path=True)],
    *,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
) -> None:
    """Load this checkout's services and those of another one in turns; show the share of the CPU time."""

    async def show(folder: Path, screen: Screen) -> None:
        screen.table(await compared(folder, other, rounds=rounds, screen=screen))

    _run(show)


@cli.command()
def peers(*, rounds: Annotated[int, typer.Option(min=1)] = 3) -> None:
    """Load Orderly and its peers in turns; show how many orders each handles per second of CPU time."""

    async def show(folder: Path, screen: Screen) -> None:
        for table in await peers_tables(folder, rounds=rounds, screen=screen):
            screen.table(table)

    _run(show)


@cli.command()
def write_budget() -> None:
    """Count as the test does, several times, and write the largest counts to work_budget.toml."""

    async def write(folder: Path, screen: Screen) -> None:
        async with (
            measured_system(folder / "counted", checkout=CHECKOUT, counted=True) as system,
            prepared_load(system.running, system.databases, customers=1) as load,
        ):
            budgets = []
            for number in range(1, BUDGET_COUNTS + 1):
                with screen.step("counting", f"counted {number} of {BUDGET_COUNTS}"):
                    work = await count_work(system, load, orders=ORDERS, idle_seconds=IDLE_SECONDS)
                budgets.append(Budget.of(*work))
        Budget.of_all(budgets).write()

    _run(write)


def _run(work: Callable[[Path, Screen], Coroutine[Any, Any, None]]) -> None:
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    screen, folder = Screen(), Path(tempfile.mkdtemp(prefix="orderly-work-"))
    screen.note(f"logs in {folder}")
    with screen.working():
        asyncio.run(work(folder, screen))
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    cli()

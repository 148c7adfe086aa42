"""The CPU time per order of this checkout as a share of another one's, both loaded in turns."""

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from rich.table import Table

from deploy.local.screen import Screen
from deploy.local.state import CHECKOUT
from tests.bench.orders_load import Load, prepared_load
from tests.bench.work.loads import LoadWork, at_a_rate, idle_ms_per_second, saturated, warmed_up
from tests.bench.work.measured_system import MeasuredSystem, measured_system
from tests.bench.work.processor_time import CLIENT
from tests.bench.work.tables import PROCESSES, cost_of

SATURATED_SECONDS = 12.0
RATE_SECONDS = 20.0
IDLE_SECONDS = 8.0


@dataclass(frozen=True, kw_only=True)
class Round:
    """The measurements of one checkout's system in one round."""

    saturated: LoadWork
    at_a_rate: LoadWork
    idle: dict[str, float]


async def compared(folder: Path, other: Path, *, rounds: int, screen: Screen) -> Table:
    """Load the systems of both checkouts in turns; return the table of the shares.

    Each has servers of its own, so that the time of PostgreSQL and Kafka is that of its own orders.
    """
    found: dict[Path, list[Round]] = {CHECKOUT: [], other: []}
    async with AsyncExitStack() as stack:
        systems: dict[Path, tuple[MeasuredSystem, Load]] = {}
        for name, checkout in (("this", CHECKOUT), ("other", other)):
            with screen.step(f"{checkout}: starting", f"{checkout}: started and warmed up"):
                system = await stack.enter_async_context(
                    measured_system(folder / name, checkout=checkout, counted=False)
                )
                load = await stack.enter_async_context(prepared_load(system.running, system.databases))
                await warmed_up(system, load)
                systems[checkout] = system, load
        for number in range(1, rounds + 1):
            # Reverse the order in every second round, so that neither always comes first.
            for checkout in sorted(systems, reverse=number % 2 == 0):
                with screen.step(f"{checkout}: round {number}", f"{checkout}: round {number} of {rounds}"):
                    found[checkout].append(await _round(*systems[checkout], seed=f"round {number}"))
    return _shares_table(found[CHECKOUT], found[other])


async def _round(system: MeasuredSystem, load: Load, *, seed: str) -> Round:
    return Round(
        saturated=await saturated(system, load, seconds=SATURATED_SECONDS),
        at_a_rate=await at_a_rate(system, load, seconds=RATE_SECONDS, seed=seed),
        idle=await idle_ms_per_second(system, seconds=IDLE_SECONDS),
    )


def _shares_table(this: Sequence[Round], other: Sequence[Round]) -> Table:
    columns: dict[str, Callable[[str, Round], float]] = {
        "saturated, ms per order": lambda process, one: cost_of(one.saturated.ms_per_order, process),
        "20 orders/s, ms per order": lambda process, one: cost_of(one.at_a_rate.ms_per_order, process),
        "idle, ms per second": lambda process, one: cost_of(one.idle, process),
    }
    table = Table("CPU: this, other = share", box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right")
    for process in (*PROCESSES, "all", CLIENT):
        table.add_row(process, *(_share(this, other, partial(of, process)) for of in columns.values()))
    table.add_row("orders/s to the mail", _share(this, other, lambda one: one.saturated.orders_per_second), "", "")
    return table


def _share(this: Sequence[Round], other: Sequence[Round], value: Callable[[Round], float]) -> str:
    """Return both medians, and the median of each round's share: the machine's speed changes between rounds."""
    pairs = [(value(one), value(beside)) for one, beside in zip(this, other, strict=True)]
    share = median(one / beside if beside else 1.0 for one, beside in pairs)
    return f"{median(one for one, _ in pairs):.2f}, {median(beside for _, beside in pairs):.2f} = {share:.2f}"

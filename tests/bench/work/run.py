"""Measures the work of this checkout, or of another one, and prints it."""

from contextlib import AsyncExitStack
from pathlib import Path

from deploy.local.screen import Screen
from deploy.local.state import CHECKOUT
from tests.bench.orders_load import prepared_load
from tests.bench.peers.compared import peers_tables
from tests.bench.work.comparison import compared
from tests.bench.work.growth import FEWER, growth_table
from tests.bench.work.loads import at_a_rate, idle_ms_per_second, lone_latencies, saturated, warmed_up
from tests.bench.work.lone_orders import IdleWork, OrderWork, count_work
from tests.bench.work.measured_system import measured_system
from tests.bench.work.tables import (
    latency_table,
    loads_table,
    memory_table,
    other_table,
    statements_table,
    summary_table,
)

COUNTED_ORDERS = 7
COUNTED_IDLE_SECONDS = 10.0
LOAD_SECONDS = 15.0
IDLE_SECONDS = 10.0
LATENCY_ORDERS = 30


async def show_work(folder: Path, screen: Screen, *, rows: int, rounds: int, against: Path | None) -> None:
    """Count and time this checkout's orders, and compare with another checkout if one is given."""
    await show_counts(folder, CHECKOUT, screen, rows=rows)
    await show_loads(folder, CHECKOUT, screen)
    for table in await peers_tables(folder, rounds=rounds, screen=screen):
        screen.table(table)
    if against is not None:
        screen.table(await compared(folder, against, rounds=rounds, screen=screen))


async def count(folder: Path, checkout: Path, screen: Screen, *, rows: int = 0) -> tuple[OrderWork, IdleWork]:
    """Start a system that logs what it executes, and count the work of lone orders and of an idle second."""
    full = f", {rows:,} rows in every table" if rows else ""
    async with AsyncExitStack() as stack:
        with screen.step(f"counting{full}: starting", f"counting{full}: started"):
            system = await stack.enter_async_context(
                measured_system(folder / f"counted-{rows}", checkout=checkout, counted=True, rows=rows)
            )
            load = await stack.enter_async_context(prepared_load(system.running, system.databases, customers=1))
        with screen.step(f"counting{full}: lone orders", f"counting{full}: {COUNTED_ORDERS} lone orders"):
            return await count_work(system, load, orders=COUNTED_ORDERS, idle_seconds=COUNTED_IDLE_SECONDS)


async def show_counts(folder: Path, checkout: Path, screen: Screen, *, rows: int) -> None:
    """Count, and print the tables; with rows, count again with full tables, and print the difference."""
    order, idle = await count(folder, checkout, screen)
    screen.table(statements_table(order.statements, title="statements of a lone order"))
    screen.table(statements_table(order.polls, title="statements of polls around a lone order"))
    screen.table(other_table(order, idle))
    screen.table(summary_table(order, idle))
    if rows:
        tenth, _ = await count(folder, checkout, screen, rows=rows // FEWER)
        full, _ = await count(folder, checkout, screen, rows=rows)
        screen.table(growth_table(order, tenth, full, rows=rows))


async def show_loads(folder: Path, checkout: Path, screen: Screen) -> None:
    """Load a system that logs as usual, and print CPU time, memory and latency."""
    async with AsyncExitStack() as stack:
        with screen.step("timing: starting", "timing: started and warmed up"):
            system = await stack.enter_async_context(
                measured_system(folder / "timed", checkout=checkout, counted=False)
            )
            load = await stack.enter_async_context(prepared_load(system.running, system.databases))
            memory_before = (await warmed_up(system, load)).memory_mb
        with screen.step("timing: lone orders", f"timing: {LATENCY_ORDERS} lone orders"):
            latencies = await lone_latencies(system, load, orders=LATENCY_ORDERS)
        with screen.step("timing: saturated", "timing: saturated"):
            loads = {"saturated": await saturated(system, load, seconds=LOAD_SECONDS)}
        with screen.step("timing: 20 orders/s", "timing: 20 orders/s"):
            loads["20 orders/s"] = await at_a_rate(system, load, seconds=2 * LOAD_SECONDS, seed="work")
        with screen.step("timing: idle", "timing: idle"):
            idle = await idle_ms_per_second(system, seconds=IDLE_SECONDS)
    screen.table(loads_table(loads, idle))
    screen.table(memory_table(memory_before, loads["20 orders/s"].memory_mb))
    screen.table(latency_table(latencies))

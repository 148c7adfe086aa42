"""CPU time per order under load, CPU time of an idle second, memory, and the latency of lone orders."""

import asyncio
import time
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from tests.bench.orders_load import Load, PlacedOrder
from tests.bench.settling import Settling
from tests.bench.work.lone_orders import place_and_settle
from tests.bench.work.measured_system import MeasuredSystem
from tests.bench.work.processor_time import difference, memory_mb, processor_ms

SATURATING_CLIENTS = 8
ORDERS_PER_SECOND = 20.0
WARM_UP_SECONDS = 5.0

_MAILED = """
    SELECT n.data->>'order_id' AS order_id, d.sent_at AS at
    FROM notification n JOIN delivery d ON d.notification_id = n.id
    WHERE n.event_type = 'order.confirmed' AND d.channel = 'email' AND n.data->>'order_id' = ANY($1::text[])
"""


@dataclass(frozen=True, kw_only=True)
class LoadWork:
    """The cost of one load's orders. `ms_per_order`: CPU time by process, the client's too."""

    orders: int
    orders_per_second: float
    """Throughput from the first order until the last mail."""
    ms_per_order: Mapping[str, float]
    memory_mb: Mapping[str, float]
    """Memory after the load."""


@dataclass(frozen=True, kw_only=True)
class Latencies:
    """Medians of lone orders in ms, from the request on."""

    answered: float
    confirmed: float
    mailed: float


async def saturated(system: MeasuredSystem, load: Load, *, seconds: float) -> LoadWork:
    """Let a few clients place orders as fast as they can."""
    return await _measured(system, load.closed_loop(clients=SATURATING_CLIENTS, seconds=seconds))


async def at_a_rate(system: MeasuredSystem, load: Load, *, seconds: float, seed: str) -> LoadWork:
    """Place orders at a rate that is far below the capacity."""
    return await _measured(system, load.open_loop(per_second=ORDERS_PER_SECOND, seconds=seconds, seed=seed))


async def warmed_up(system: MeasuredSystem, load: Load) -> LoadWork:
    """Open the connections and fill the caches."""
    return await saturated(system, load, seconds=WARM_UP_SECONDS)


async def idle_ms_per_second(system: MeasuredSystem, *, seconds: float) -> dict[str, float]:
    """Return the CPU time of each process in ms per second while no order is placed."""
    before = processor_ms(system.pids)
    await asyncio.sleep(seconds)
    return {name: ms / seconds for name, ms in difference(processor_ms(system.pids), before).items()}


async def lone_latencies(system: MeasuredSystem, load: Load, *, orders: int) -> Latencies:
    """Measure orders on the idle system, each after the previous one has settled."""
    placed = [await place_and_settle(system, load, tail_seconds=0.3 + 0.01 * number) for number in range(orders)]
    confirmed = await Settling(system.databases).confirmed_at(placed)
    rows = await system.databases["notifications"].fetch(_MAILED, [order.id for order in placed])
    mailed = {row["order_id"]: row["at"].timestamp() for row in rows}
    return Latencies(
        answered=1000 * median(order.answered_seconds for order in placed),
        confirmed=1000 * median(at - order.sent_at for at, order in zip(confirmed, placed, strict=True)),
        mailed=1000 * median(mailed[order.id] - order.sent_at for order in placed),
    )


async def _measured(system: MeasuredSystem, orders: Awaitable[Sequence[PlacedOrder]]) -> LoadWork:
    settling = Settling(system.databases)
    notified = await settling.notified()
    before, started = processor_ms(system.pids), time.monotonic()
    placed = await orders
    await settling.wait(notified=notified + len(placed))
    used, elapsed = difference(processor_ms(system.pids), before), time.monotonic() - started
    await settling.confirmed_at(placed)
    return LoadWork(
        orders=len(placed),
        orders_per_second=len(placed) / elapsed,
        ms_per_order={name: ms / len(placed) for name, ms in used.items()},
        memory_mb=memory_mb(system.pids),
    )

"""The saga's capacity, and from POST to confirmed at a quarter and at three quarters of it."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import asyncpg

from deploy.demo.latency import Latency, latency_of
from deploy.demo.system import RunningSystem
from shared.database import dsn_of
from tests.bench.figures import Figure
from tests.bench.filled_system import filled_system
from tests.bench.orders_load import Load, Placed, prepared_load
from tests.bench.setting import Round, Setting

CLIENTS = (8, 16)
"""Both keep two cores busy; far more than a service has connections to its database would only queue for those."""
WARM_UP_SECONDS = 5.0
CLOSED_SECONDS = 15.0
SHARES_SECONDS = {0.25: 90.0, 0.75: 40.0}
"""For how long orders come at so much of the capacity: some 700 at least, so that a p99 is not one of them."""
BACKLOG_WAIT_SECONDS = 60.0
POLL_SECONDS = 0.1
SEED = 20110

_capacities: dict[int, float] = {}
"""Orders a second, round by round: what runs second in a round gets orders at the same rates as what ran first."""

_TOLD = "SELECT count(*) FROM inbox WHERE consumer = 'notifications.orders' AND day >= current_date"


class NotConfirmed(Exception):
    """Orders were left over, which voids the run."""


@dataclass(frozen=True)
class _Databases:
    """A connection to each service's database."""

    of: dict[str, "asyncpg.Connection[asyncpg.Record]"]

    async def confirmed_at(self, placed: Sequence[Placed]) -> list[float]:
        """Unix times, in the orders' sequence. Raises: NotConfirmed."""
        rows = await self.of["orders"].fetch(
            "SELECT order_id, at FROM order_timeline WHERE status = 'confirmed' AND order_id = ANY($1::uuid[])",
            [order.id for order in placed],
        )
        at = {str(row["order_id"]): row["at"].timestamp() for row in rows}
        if missing := [order.id for order in placed if order.id not in at]:
            raise NotConfirmed(f"{len(missing)} of {len(placed)} orders, such as {missing[0]}")
        return [at[order.id] for order in placed]

    async def told(self) -> int:
        """How many events of orders the notifications have taken."""
        counted: int = await self._value("notifications", _TOLD)
        return counted

    async def come_to_rest(self, *, told: int) -> float:
        """Wait until every order is confirmed, told of by mail, and nothing waits to be sent; the Unix time then."""
        async with asyncio.timeout(BACKLOG_WAIT_SECONDS):
            while not await self._is_at_rest(told=told):  # noqa: ASYNC110 - databases tell nobody
                await asyncio.sleep(POLL_SECONDS)
        return time.time()

    async def _is_at_rest(self, *, told: int) -> bool:
        if await self._value("orders", "SELECT EXISTS (SELECT FROM customer_order WHERE status = 'pending')"):
            return False
        if await self.told() < told:
            return False
        if await self._value("notifications", "SELECT EXISTS (SELECT FROM delivery WHERE next_attempt_at IS NOT NULL)"):
            return False
        return not any([await self._value(service, "SELECT EXISTS (SELECT FROM outbox)") for service in self.of])

    async def _value(self, service: str, query: str) -> Any:
        return await self.of[service].fetchval(query)


@dataclass
class _Shop:
    """A system under load."""

    load: Load
    databases: _Databases
    rounds: int = 0

    async def capacity(self) -> list[Figure]:
        """The most orders a second that were confirmed and told of; it sets the rates of the round."""
        await self._confirmed_per_second(clients=CLIENTS[0], seconds=WARM_UP_SECONDS)
        reached = [await self._confirmed_per_second(clients=clients, seconds=CLOSED_SECONDS) for clients in CLIENTS]
        self.rounds += 1
        _capacities.setdefault(self.rounds, max(reached))
        return [Figure(bench="saga", what="orders confirmed", values=(max(reached),), unit="1/s", better="more")]

    async def _confirmed_per_second(self, *, clients: int, seconds: float) -> float:
        """From the first sent until all is at rest."""
        told = await self.databases.told()
        began_at = time.time()
        placed = await self.load.closed_loop(clients=clients, seconds=seconds)
        rested_at = await self.databases.come_to_rest(told=told + len(placed))
        await self.databases.confirmed_at(placed)
        return len(placed) / (rested_at - began_at)

    async def latencies(self, share: float) -> list[Figure]:
        """With orders at that share of the round's capacity."""
        told = await self.databases.told()
        placed, read_seconds = await self.load.open_loop(
            per_second=share * _capacities[self.rounds],
            seconds=SHARES_SECONDS[share],
            arrivals=f"round {self.rounds} at {share}",
        )
        await self.databases.come_to_rest(told=told + len(placed))
        confirmed_at = await self.databases.confirmed_at(placed)
        confirmed = _latency([at - order.sent_at for at, order in zip(confirmed_at, placed, strict=True)])
        answered = _latency([order.answered_seconds for order in placed])
        read = _latency(read_seconds)
        level = f"at {share:.0%} of capacity"
        return [
            *_figures(f"GET of a product {level}", read),
            *_figures(f"POST to answered {level}", answered, baseline="GET of a product", baseline_latency=read),
            *_figures(f"POST to confirmed {level}", confirmed, baseline="POST to answered", baseline_latency=answered),
        ]


@asynccontextmanager
async def saga(setting: Setting) -> AsyncIterator[Round]:
    """A system of its own, which stands idle while another is measured.

    A part raises OrderRefused, NotConfirmed or TimeoutError when the system does not keep up.
    """
    async with (
        filled_system(setting) as system,
        prepared_load(system, seed=SEED) as load,
        _connected(system) as databases,
    ):
        shop = _Shop(load, databases)
        yield [shop.capacity, *(partial(shop.latencies, share) for share in SHARES_SECONDS)]


def _latency(seconds: Sequence[float]) -> Latency:
    latency = latency_of(seconds)
    assert latency is not None, "something was sent"
    return latency


def _figures(
    what: str, latency: Latency, *, baseline: str | None = None, baseline_latency: Latency | None = None
) -> list[Figure]:
    return [
        Figure(
            bench="saga",
            what=f"{what}, {name}",
            values=(1000 * getattr(latency, name),),
            unit="ms",
            better="less",
            baseline=baseline,
            baseline_values=(1000 * getattr(baseline_latency, name),) if baseline_latency else (),
            baseline_has_rows=True,
        )
        for name in ("p50", "p99")
    ]


@asynccontextmanager
async def _connected(system: RunningSystem) -> AsyncIterator[_Databases]:
    async with AsyncExitStack() as stack:
        of = {}
        for service, url in system.databases.items():
            of[service] = await asyncpg.connect(dsn_of(url))
            stack.push_async_callback(of[service].close)
        yield _Databases(of)

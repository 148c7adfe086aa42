"""The saga: orders confirmed a second, and the time from POST to confirmed at two shares of that capacity."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from deploy.audit.databases import connected
from deploy.local.credentials import SERVICES, ensure_credentials
from deploy.local.services import Services
from tests.bench.fixtures import Benchmark, Fixtures
from tests.bench.measurement import Measurement, latencies
from tests.bench.orders_load import Load, prepared_load
from tests.bench.settling import Settling
from tests.harness.service_table_rows import fill_tables
from tests.harness.whole_system import settings_on_free_ports, whole_system

CLIENTS = (8, 16)
"""Both keep two cores busy. Many more would only wait for the services' database connections."""
WARM_UP_SECONDS = 5.0
CAPACITY_SECONDS = 15.0
SHARES_SECONDS = {0.25: 90.0, 0.75: 40.0}
"""Seconds of arrivals at each share of the capacity: at least 700 orders, so that no single order decides the p99."""
SERVICE_SETTINGS = {"RATE_LIMIT": "100000/minute", "ROUTE_RATE_LIMITS": "*=100000/minute"}
ACCESS_TOKEN_MINUTES = "60"
"""Customers sign in once, before the other system is filled, which may take ten minutes."""
MAX_PENDING_ORDERS = "10000"
"""High, since orders are placed faster than they are decided when the capacity is measured."""
GATEWAY_REQUESTS_PER_SECOND = 10_000
"""High, since all requests come from one address."""

_capacities: dict[int, float] = {}
"""The capacity of each round in orders a second, from the system that is measured first. Both get the same rates."""


@dataclass(frozen=True, kw_only=True)
class FilledServices(Services):
    """The three services on filled databases, with topics of their own and limits that the load does not reach."""

    rows: int
    topic_prefix: str

    async def set_up(self) -> None:
        """Set up as usual, then add the rows."""
        await super().set_up()
        if self.rows:
            await asyncio.gather(*map(self._fill, SERVICES))

    async def _fill(self, service: str) -> None:
        url = self.database_url(service)
        await fill_tables(service, url, rows=self.rows)

    def environment(self, service: str) -> dict[str, str]:
        """Return the usual environment with higher limits and the topics' prefix."""
        changed = SERVICE_SETTINGS | {"KAFKA_TOPIC_PREFIX": self.topic_prefix}
        if service == "orders":
            changed["MAX_PENDING_ORDERS"] = MAX_PENDING_ORDERS
        if service == "users":
            changed["ACCESS_TOKEN_MINUTES"] = ACCESS_TOKEN_MINUTES
        return super().environment(service) | {f"{service.upper()}_{name}": value for name, value in changed.items()}


@asynccontextmanager
async def benchmark(fixtures: Fixtures) -> AsyncIterator[Benchmark]:
    """Measure a system of its own, which is idle while another one is measured."""
    folder = fixtures.servers.folder / f"system-{fixtures.rows}-rows"
    settings = settings_on_free_ports(
        folder, kafka=fixtures.servers.kafka, gateway_requests_per_second=GATEWAY_REQUESTS_PER_SECOND
    )
    services = FilledServices(
        settings=settings,
        credentials=ensure_credentials(folder / "secrets"),
        kafka_bootstrap_servers=fixtures.servers.kafka,
        rows=fixtures.rows,
        topic_prefix=f"bench-saga-{fixtures.rows}.",
    )
    async with (
        whole_system(services) as system,
        connected(system.running.databases) as databases,
        prepared_load(system.running, databases) as load,
    ):
        yield _LoadedSystem(load, Settling(databases)).measure


@dataclass(frozen=True)
class _LoadedSystem:
    """A system under load."""

    load: Load
    settling: Settling

    async def measure(self, number: int) -> list[Measurement]:
        await self._confirmed_per_second(clients=CLIENTS[0], seconds=WARM_UP_SECONDS)
        capacity = max([await self._confirmed_per_second(clients=one, seconds=CAPACITY_SECONDS) for one in CLIENTS])
        _capacities.setdefault(number, capacity)
        measured = [Measurement(name="saga: orders confirmed", values=(capacity,), unit="1/s", higher_is_better=True)]
        for share in SHARES_SECONDS:
            measured += await self._latencies(number, share)
        return measured

    async def _confirmed_per_second(self, *, clients: int, seconds: float) -> float:
        """Return the rate from the first order until the system has settled."""
        notified = await self.settling.notified()
        started = time.monotonic()
        placed = await self.load.closed_loop(clients=clients, seconds=seconds)
        await self.settling.wait(notified=notified + len(placed))
        elapsed = time.monotonic() - started
        await self.settling.confirmed_at(placed)
        return len(placed) / elapsed

    async def _latencies(self, number: int, share: float) -> list[Measurement]:
        notified = await self.settling.notified()
        placed = await self.load.open_loop(
            per_second=share * _capacities[number],
            seconds=SHARES_SECONDS[share],
            seed=f"round {number} at {share}",
        )
        await self.settling.wait(notified=notified + len(placed))
        confirmed_at = await self.settling.confirmed_at(placed)
        answered = [order.answered_seconds for order in placed]
        confirmed = [at - order.sent_at for at, order in zip(confirmed_at, placed, strict=True)]
        level = f"at {share:.0%} of capacity"
        return [
            *latencies(f"saga: POST to answered {level}", answered),
            *latencies(
                f"saga: POST to confirmed {level}",
                confirmed,
                baseline="POST to answered",
                baseline_seconds=answered,
                baseline_uses_tables=True,
            ),
        ]

"""Overload: orders that are answered in time, at one to five times the capacity, and the recovery afterwards."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count

import httpx2
import psutil
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from deploy.local.ports import free_port
from deploy.local.valkey import Valkey
from tests.bench.fixtures import OUTBOX_IS_EMPTY, Benchmark, Fixtures, wait_for
from tests.bench.measurement import Measurement, latencies
from tests.bench.open_loop import Answer, OpenLoop, prepared
from tests.harness.asgi import served
from tests.harness.databases import create_template
from tests.harness.service_process import ServiceProcess, service_process
from tests.harness.service_table_rows import fill_tables
from tests.harness.supervised_servers import OWNER
from tests.harness.waiting import until
from tests.shared.http.token_issuer import TokenIssuer

MULTIPLES = (1, 2, 3, 5)
CLIENTS = 32
"""Clients of the closed loop that finds the capacity: enough to keep the process busy, and fewer than it has places."""
SECONDS = 8.0
IN_TIME_SECONDS = 1.0
"""An answer that takes longer does not count: its client may have given up."""
MIN_SHARE = 0.8
"""Goal for the share of the peak that is left at three times the capacity."""
JUDGED_MULTIPLE = 3
MAX_RECOVERY_SECONDS = 10.0
PROBES, MAX_PROBE_SECONDS = 10, 0.25
"""Recovered: so many requests in turn are each answered so soon."""
CUSTOMERS = 3_000
"""Many, since the pending orders of a customer are counted for each further one."""
PRODUCTS = 200
SETTINGS = {
    "RATE_LIMIT": "1000000/minute",
    "ROUTE_RATE_LIMITS": "*=1000000/minute",
    "MAX_PENDING_ORDERS": "10000",
    "ORDER_DEADLINE_SECONDS": "86400",
    "ROLES": "api,relay",
}

_numbers = count(1)


@dataclass(frozen=True)
class _Load:
    """The requests to one process, and its processor time."""

    loop: OpenLoop
    order_of: Callable[[int], bytes]
    process: psutil.Process

    async def at_rate(self, per_second: float) -> tuple[list[Answer], float, float]:
        """Return the answers, the processor seconds that they took, and the seconds until the process had recovered."""
        before = self._processor_seconds()
        running = asyncio.create_task(self.loop.run(self.order_of, per_second=per_second, seconds=SECONDS))
        await asyncio.sleep(SECONDS)
        processor_seconds = self._processor_seconds() - before
        recovery_seconds = await self._recovery_seconds()
        return await running, processor_seconds, recovery_seconds

    async def in_turn(self) -> tuple[list[Answer], float]:
        """Return the answers to a closed loop, and the processor seconds that they took."""
        before = self._processor_seconds()
        answers = await self.loop.run_in_turn(self.order_of, clients=CLIENTS, seconds=SECONDS)
        return answers, self._processor_seconds() - before

    def _processor_seconds(self) -> float:
        times = self.process.cpu_times()
        return times.user + times.system

    async def _recovery_seconds(self) -> float:
        """Send requests in turn until enough of them are answered soon; return the time before those."""
        begun = streak_begun = time.perf_counter()
        answered = 0
        while answered < PROBES:
            [answer] = await self.loop.run_at(self.order_of, [0.0])
            if answer.status == httpx2.codes.CREATED and answer.seconds <= MAX_PROBE_SECONDS:
                answered += 1
            else:
                answered, streak_begun = 0, time.perf_counter()
        return streak_begun - begun


@asynccontextmanager
async def benchmark(fixtures: Fixtures) -> AsyncIterator[Benchmark]:
    """Measure one process of the orders service with its relay, on servers that it shares with nobody."""
    issuer = TokenIssuer()
    database_url = await _orders_database(fixtures)
    valkey = Valkey(folder=fixtures.servers.folder / f"valkey-{next(_numbers)}", port=free_port(), durable=False)
    await fixtures.servers.processes.supervisor.start(valkey.program())
    await until(valkey.program().ready, what="Valkey is ready")
    settings = SETTINGS | {
        "KAFKA_BOOTSTRAP_SERVERS": fixtures.servers.kafka,
        "KAFKA_TOPIC_PREFIX": await fixtures.create_topics("overload"),
    }
    log = fixtures.servers.folder / f"overload-{fixtures.rows}.log"
    async with (
        served(_users(issuer)) as users_url,
        service_process(database_url, valkey.url, log=log, USERS_URL=users_url, **settings) as service,
    ):
        load = _Load(OpenLoop(service.port), await _orders(service, issuer), psutil.Process(service.process.pid))

        async def measure(_round: int) -> list[Measurement]:
            found = await _measured(load)
            await wait_for(database_url, OUTBOX_IS_EMPTY, seconds=60)
            return found

        yield measure
        load.loop.close()


async def _measured(load: _Load) -> list[Measurement]:
    """Find the capacity, then offer a multiple of it, and so on."""
    lines: list[Measurement] = []
    for multiple in MULTIPLES:
        # Measured each time, just before: the machine's own speed changes within a minute.
        answers, processor_seconds = await load.in_turn()
        peak, peak_efficiency = _placed_in_time(answers) / SECONDS, _placed_in_time(answers) / processor_seconds
        answers, processor_seconds, recovery_seconds = await load.at_rate(multiple * peak)
        goodput, efficiency = _placed_in_time(answers) / SECONDS, _placed_in_time(answers) / processor_seconds
        at = f"overload, {multiple} times the capacity"
        lines += [
            Measurement(
                name=f"{at}: orders answered within {IN_TIME_SECONDS:g} s",
                values=(goodput,),
                unit="orders/s",
                higher_is_better=True,
                baseline="at the capacity",
                baseline_values=(peak,),
                ratio_goal=MIN_SHARE if multiple == JUDGED_MULTIPLE else None,
            ),
            Measurement(
                name=f"{at}: the same for each second of the service's CPU time",
                values=(efficiency,),
                unit="orders",
                higher_is_better=True,
                baseline="at the capacity",
                baseline_values=(peak_efficiency,),
            ),
            *latencies(f"{at}: 201", [one.seconds for one in answers if one.status == httpx2.codes.CREATED]),
            *latencies(f"{at}: 503", [one.seconds for one in answers if one.status != httpx2.codes.CREATED] or [0, 0]),
            Measurement(name=f"{at}: recovery", values=(recovery_seconds,), unit="s", max_value=MAX_RECOVERY_SECONDS),
        ]
    return lines


def _placed_in_time(answers: list[Answer]) -> int:
    return sum(one.status == httpx2.codes.CREATED and one.seconds <= IN_TIME_SECONDS for one in answers)


async def _orders_database(fixtures: Fixtures) -> str:
    number = next(_numbers)
    template = f"template_overload_{number}"
    log = fixtures.servers.folder / f"overload-migrate-{number}.log"
    await create_template(fixtures.servers.postgres.admin_url, name=template, owner=OWNER, service="orders", log=log)
    url = await fixtures.servers.create_database(f"bench_overload_{number}", template=template)
    if fixtures.rows:
        await fill_tables("orders", url, rows=fixtures.rows)
    return url


def _users(issuer: TokenIssuer) -> Starlette:
    """Return what the orders service asks the users service for."""

    async def keys(_request: Request) -> JSONResponse:
        return JSONResponse(issuer.keys.as_dict(private=False))

    async def revoked(_request: Request) -> JSONResponse:
        return JSONResponse({"as_of": datetime.now(UTC).isoformat(), "sessions": [], "withdrawn_keys": []})

    return Starlette(routes=[Route("/.well-known/jwks.json", keys), Route("/internal/revoked-sessions", revoked)])


async def _orders(service: ServiceProcess, issuer: TokenIssuer) -> Callable[[int], bytes]:
    """Create products; return a function that returns the request for order number 0, 1, ..."""
    async with httpx2.AsyncClient(base_url=service.url, headers=issuer.header("admin")) as client:
        for number in range(PRODUCTS):
            product = {"sku": f"LOAD-{number}", "name": "Lamp", "price_cents": 100, "currency": "GBP"}
            (await client.post("/v1/products", json=product | {"stock": 10**6})).raise_for_status()
    tokens = [issuer.token() for _ in range(CUSTOMERS)]
    bodies = [
        json.dumps(
            {"items": [{"sku": f"LOAD-{(number + step) % PRODUCTS}", "quantity": 1} for step in (0, 7)]}
        ).encode()
        for number in range(PRODUCTS)
    ]
    keys = count()

    def order_of(_number: int) -> bytes:
        number = next(keys)
        return prepared(
            "POST",
            "/v1/orders",
            body=bodies[number % PRODUCTS],
            Authorization=f"Bearer {tokens[number % CUSTOMERS]}",
            Content_Type="application/json",
            Idempotency_Key=f"overload-{number}",
        )

    return order_of

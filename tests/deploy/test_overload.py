"""An overloaded process: bounded work and waits, healthy meanwhile, and well again as soon as the load ends."""

import asyncio
from pathlib import Path

import asyncpg
import httpx2

from shared.connection_urls import dsn_of
from tests.bench.open_loop import OpenLoop, prepared, statuses
from tests.harness.databases import DatabaseFactory, as_owner
from tests.harness.service_process import ServiceProcess, service_process
from tests.harness.waiting import until

PLACES, QUEUE, POOL_SIZE = 12, 4, 5
REQUEST_CONNECTIONS = 4
BURST = 60
MAX_SECONDS = 8.0
"""The bounds add up to 1.5 s. Below the 10 s for which a statement waits for a lock, and far above a busy machine's
delays."""
LIMITS = {"RATE_LIMIT": "1000000/minute", "ROUTE_RATE_LIMITS": "*=1000000/minute"}
PRODUCTS = prepared("GET", "/v1/products")


async def test_a_process_whose_connections_are_all_held_refuses_the_surplus_and_stays_ready(
    database_factory: DatabaseFactory, valkey_url: str, tmp_path: Path
) -> None:
    url = await database_factory("orders")
    bounds = {"MAX_CONCURRENT_REQUESTS": PLACES, "MAX_WAITING_REQUESTS": QUEUE, "DATABASE_POOL_SIZE": POOL_SIZE}
    settings = LIMITS | {name: str(value) for name, value in bounds.items()}
    async with service_process(url, valkey_url, log=tmp_path / "log", **settings) as service:
        load, owner = OpenLoop(service.port), await asyncpg.connect(dsn_of(as_owner(url)))
        assert await _one(load) == 200
        async with owner.transaction():
            await owner.execute("LOCK TABLE product IN ACCESS EXCLUSIVE MODE")
            burst = asyncio.create_task(load.run_at(lambda _: PRODUCTS, [0.0] * BURST))
            await until(lambda: _has_shed(service, BURST - REQUEST_CONNECTIONS), what="the surplus is refused")
            # Its checks and the relay have connections of their own.
            ready = await service.status_of("/health/ready")
        answers = await burst
        after = await _one(load)
        load.close()
        await owner.close()

    assert statuses(answers) == {(200, None): REQUEST_CONNECTIONS, (503, "overloaded"): BURST - REQUEST_CONNECTIONS}
    assert {answer.retry_after for answer in answers if answer.status == 503} <= {"1", "2", "3"}
    assert max(answer.seconds for answer in answers if answer.status == 503) < MAX_SECONDS
    assert (ready, after) == (200, 200)


async def test_a_process_works_on_while_far_more_arrives_than_it_can_process(
    database_factory: DatabaseFactory, valkey_url: str, tmp_path: Path
) -> None:
    url = await database_factory("orders")
    settings = LIMITS | {"MAX_CONCURRENT_REQUESTS": "4", "MAX_WAITING_REQUESTS": "4"}
    async with service_process(url, valkey_url, log=tmp_path / "log", **settings) as service:
        load = OpenLoop(service.port)
        assert await _one(load) == 200
        # Bursts of many times what is admitted: the machine's speed does not matter.
        waves = [await load.run_at(lambda _: PRODUCTS, [0.0] * 100) for _ in range(3)]
        after = [await _one(load) for _ in range(3)]
        load.close()

    found = statuses([answer for wave in waves for answer in wave])
    assert found.keys() == {(200, None), (503, "overloaded")}, found
    assert all(statuses(wave)[200, None] >= 4 for wave in waves), found
    assert after == [200, 200, 200]


async def _one(load: OpenLoop) -> int:
    (answer,) = await load.run_at(lambda _: PRODUCTS, [0.0])
    return answer.status


async def _has_shed(service: ServiceProcess, requests: int) -> bool:
    async with httpx2.AsyncClient() as client:
        page = (await client.get(f"{service.url}/metrics")).text
    lines = [line for line in page.splitlines() if line.startswith("http_requests_shed_total{")]
    return sum(float(line.rpartition(" ")[2]) for line in lines) == requests

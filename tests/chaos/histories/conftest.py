"""Fixtures: a short campaign of contending clients on users and orders, with a mutant in orders or without one."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import httpx2
import pytest

from deploy.local.credentials import ADMIN_EMAIL
from services.users.administration.creation import create_admin
from services.users.settings import Settings
from shared.connection_urls import dsn_of
from tests.chaos.forked_process import ForkedProcess
from tests.chaos.histories import applied_times
from tests.chaos.histories.cache_outages import CacheOutages, max_cached_seconds
from tests.chaos.histories.contention import Contention
from tests.chaos.histories.final_state import read_final_state
from tests.chaos.histories.history import Observed
from tests.chaos.histories.recorder import Recorder
from tests.chaos.histories.samples import Sampler
from tests.chaos.histories.service_process import ServicePlan, main
from tests.chaos.history_page.record import CampaignRecord
from tests.harness.databases import DatabaseFactory, as_owner
from tests.harness.waiting import until
from tests.journeys.processes import PASSWORD, SERVICES, prepared_environment

ROUNDS = 3
DECISION_TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class ShortCampaign:
    """A campaign of some rounds of contention, as the rules and the page see it."""

    observed: Observed
    record: CampaignRecord


Contend = Callable[..., Awaitable[ShortCampaign]]


@pytest.fixture
async def contend(
    database_factory: DatabaseFactory,
    kafka_bootstrap_servers: str,
    topic_prefix: str,
    valkey_url: str,
    tmp_path: Path,
) -> AsyncIterator[Contend]:
    """`await contend("lost_update")`: what three rounds of the contention workload have led to.

    `until_decided`: wait until no order is pending before the state is read.
    """
    databases = {service: await database_factory(service) for service in SERVICES}
    await asyncio.gather(*(applied_times.add_column(as_owner(url)) for url in databases.values()))
    environment, urls = await prepared_environment(
        databases,
        kafka=kafka_bootstrap_servers,
        topic_prefix=topic_prefix,
        valkey_url=valkey_url,
        smtp_url="smtp://127.0.0.1:9",
        folder=tmp_path,
    )
    await _create_admin(environment)
    processes: list[ForkedProcess] = []

    async def contend_with(mutant: str | None, *, until_decided: bool = False) -> ShortCampaign:
        for service, planted in (("users", None), ("orders", mutant)):
            plan = ServicePlan(service, environment, tmp_path / f"{service}.log", planted)
            processes.append(ForkedProcess(main, plan))
        for service in ("users", "orders"):
            await _until_ready(urls[service], log=tmp_path / f"{service}.log")
        return await _contend(databases, urls, log=tmp_path / "orders.log", until_decided=until_decided)

    yield contend_with
    await asyncio.gather(*(process.stop() for process in processes))


async def _contend(databases: dict[str, str], urls: dict[str, str], *, log: Path, until_decided: bool) -> ShortCampaign:
    """Let the rounds run on services that are ready. `log`: that of orders, which names outages of its cache."""
    dsns = {service: dsn_of(url) for service, url in databases.items()}
    recorder = Recorder()
    sampler, outages = Sampler(dsns, recorder.began), CacheOutages(log, recorder.began)
    contention = Contention(recorder, _address_in(urls), PASSWORD, seed=1)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(contention.close)
        await contention.set_up()
        sampling = asyncio.create_task(sampler.run())
        stack.callback(sampling.cancel)
        await contention.run(interval_seconds=0, rounds=ROUNDS)
        await contention.read_everything()
    outages.look()
    if until_decided:
        await _until_decided(dsns["orders"])
    observed = Observed(
        requests=recorder.requests,
        final=await read_final_state(databases, recorder.requests),
        samples=sampler.violations(),
        cache_outages=outages.found,
        cache_seconds=max_cached_seconds(),
    )
    return ShortCampaign(observed, CampaignRecord(recorder, databases=dsns))


def _address_in(urls: dict[str, str]) -> Callable[[str], str]:
    """Return a function that finds the service of a path, as the gateway does."""
    return lambda path: urls["users" if path.startswith(("/v1/users", "/v1/sessions")) else "orders"]


async def _create_admin(environment: dict[str, str]) -> None:
    values = {name: environment.get(f"USERS_{name.upper()}") for name in Settings.model_fields}
    settings = Settings.model_validate({name: value for name, value in values.items() if value is not None})
    await create_admin(settings, email=ADMIN_EMAIL, password=PASSWORD)


async def _until_decided(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)

    async def is_none_pending() -> bool:
        return not await connection.fetchval("SELECT count(*) FROM customer_order WHERE status = 'pending'")

    await until(is_none_pending, seconds=DECISION_TIMEOUT_SECONDS, what="no order is pending", poll_seconds=0.1)
    await connection.close()


async def _until_ready(url: str, *, log: Path) -> None:
    async def is_ready() -> bool:
        try:
            async with httpx2.AsyncClient() as client:
                return (await client.get(f"{url}/health/ready")).status_code == 200
        except httpx2.TransportError:
            return False

    await until(is_ready, what=f"the service of {log.name} is ready", poll_seconds=0.1)

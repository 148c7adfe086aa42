"""The servers that campaigns break: supervised ones, proxies in front of them, and a count of leader changes."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from deploy.local.credentials import SERVICES
from deploy.local.cutting_proxy import CuttingProxy
from deploy.local.kafka import ProxiedListener
from deploy.local.ports import free_port
from tests.harness.clock import Clock, clocks_can_be_shifted
from tests.harness.small_disk import SmallDisk, disks_can_be_mounted, small_disk
from tests.harness.supervised_servers import SupervisedServers, postgres_folder, supervised_servers
from tests.harness.waiting import until

WATCH_INTERVAL_SECONDS = 1.0
CHECKED_SHIFT_SECONDS = 600
DISK_MEBIBYTES = 3_072
"""Size of PostgreSQL's disk. It takes memory as it is used, and all of it while it is full."""


@dataclass
class LeaderWatch:
    """Counts how often a Kafka partition got another leader."""

    bootstrap_servers: str
    changes: int = 0
    _leaders: dict[tuple[str, int], int] = field(default_factory=dict)

    async def run(self) -> None:
        """Count until cancelled."""
        while True:
            with suppress(KafkaError, OSError):
                async with AIOKafkaConsumer(bootstrap_servers=self.bootstrap_servers) as consumer:
                    while True:
                        self._compare(await consumer._client.fetch_all_metadata())
                        await asyncio.sleep(WATCH_INTERVAL_SECONDS)
            await asyncio.sleep(WATCH_INTERVAL_SECONDS)

    def _compare(self, metadata: object) -> None:
        for topic, partitions in metadata._partitions.items():  # type: ignore[attr-defined]  # aiokafka has no types
            for number, partition in partitions.items():
                if partition.leader < 0:
                    continue
                before = self._leaders.get((topic, number), partition.leader)
                self.changes += before != partition.leader
                self._leaders[topic, number] = partition.leader


@dataclass(frozen=True)
class CampaignServers:
    """The servers of a run of campaigns. Workers reach PostgreSQL through the proxy."""

    supervised: SupervisedServers
    proxy: CuttingProxy
    kafka_proxies: Mapping[str, Sequence[CuttingProxy]]
    """The proxies of the brokers, by the service that uses them. The whole system opens them."""
    leaders: LeaderWatch
    disk: SmallDisk | None
    """PostgreSQL's disk; None if this process may not mount one."""
    clock: Clock | None
    """PostgreSQL's clock; None if it cannot be shifted on this machine."""

    def proxied(self, database_url: str) -> str:
        """Return the URL of the same database by way of the proxy."""
        return database_url.replace(f":{self.supervised.postgres.port}/", f":{self.proxy.port}/")


@asynccontextmanager
async def campaign_servers(folder: Path, *, brokers: int) -> AsyncIterator[CampaignServers]:
    """Start the servers and the proxy; stop them at the end."""
    kafka_proxies = {
        service: [CuttingProxy(target_port=free_port(), port=free_port()) for _ in range(brokers)]
        for service in SERVICES
    }
    listeners = [
        {
            service.upper(): ProxiedListener(proxies[broker].target_port, proxies[broker].port)
            for service, proxies in kafka_proxies.items()
        }
        for broker in range(brokers)
    ]
    async with AsyncExitStack() as stack:
        disk = _disk(stack, postgres_folder(folder).parent)
        clock = Clock(folder / "postgres.clock") if clocks_can_be_shifted() else None
        supervised = await stack.enter_async_context(
            supervised_servers(
                folder,
                brokers=brokers,
                kafka_listeners=listeners,
                postgres_environment=clock.environment() if clock else {},
            )
        )
        if clock is not None:
            await _check_clock(clock, supervised.postgres.admin_url)
        proxy = CuttingProxy(target_port=supervised.postgres.port)
        await proxy.open()
        stack.push_async_callback(proxy.close)
        leaders = LeaderWatch(supervised.kafka)
        watching = asyncio.create_task(leaders.run())
        stack.callback(watching.cancel)
        yield CampaignServers(supervised, proxy, kafka_proxies, leaders, disk, clock)


async def _check_clock(clock: Clock, admin_url: str) -> None:
    """Check that the clock shifts PostgreSQL's time: it cannot if the server's user cannot read the clock's file."""
    clock.shift(CHECKED_SHIFT_SECONDS)

    async def is_shifted() -> bool:
        connection = await asyncpg.connect(admin_url)
        try:
            now = await connection.fetchval("SELECT extract(epoch FROM clock_timestamp())")
        finally:
            await connection.close()
        return float(now) - time.time() > CHECKED_SHIFT_SECONDS / 2

    await until(is_shifted, seconds=30, what="PostgreSQL's clock was shifted")
    clock.shift(0)


def _disk(stack: AsyncExitStack, folder: Path) -> SmallDisk | None:
    if not disks_can_be_mounted():
        return None
    return stack.enter_context(small_disk(folder, mebibytes=DISK_MEBIBYTES))

"""The servers that campaigns break: supervised ones, a proxy in front of PostgreSQL, and a count of leader changes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from tests.harness.cutting_proxy import CuttingProxy
from tests.harness.supervised_servers import SupervisedServers, supervised_servers

WATCH_INTERVAL_SECONDS = 1.0


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
    leaders: LeaderWatch

    def proxied(self, database_url: str) -> str:
        """Return the URL of the same database by way of the proxy."""
        return database_url.replace(f":{self.supervised.postgres.port}/", f":{self.proxy.port}/")


@asynccontextmanager
async def campaign_servers(folder: Path, *, brokers: int) -> AsyncIterator[CampaignServers]:
    """Start the servers and the proxy; stop them at the end."""
    async with supervised_servers(folder, brokers=brokers) as supervised:
        proxy = CuttingProxy(target_port=supervised.postgres.port)
        leaders = LeaderWatch(supervised.kafka)
        await proxy.open()
        watching = asyncio.create_task(leaders.run())
        try:
            yield CampaignServers(supervised, proxy, leaders)
        finally:
            watching.cancel()
            await proxy.close()

"""The environment of a campaign or a test: two databases, the topics of one prefix, and a folder."""

from dataclasses import dataclass
from pathlib import Path

import asyncpg

from shared.connection_urls import dsn_of
from shared.messaging.kafka import KafkaConnection
from tests.chaos.accounts import CONSUMER, CONSUMER_TABLES, PRODUCER_TABLES, TOPIC
from tests.chaos.histories import applied_times


@dataclass(frozen=True, kw_only=True)
class Environment:
    """The addresses and the folder. Workers get the addresses of proxies where there are some, observers never do."""

    producer_url: str
    consumer_url: str
    kafka: str
    topic_prefix: str
    folder: Path

    @property
    def connection(self) -> KafkaConnection:
        """The cluster and the prefix."""
        return KafkaConnection(self.kafka, self.topic_prefix)

    @property
    def topic(self) -> str:
        """The full name of the workload's topic."""
        return self.topic_prefix + TOPIC

    @property
    def group(self) -> str:
        """The full name of the workload's consumer group."""
        return self.topic_prefix + CONSUMER

    @property
    def acknowledged(self) -> Path:
        """The file to which writers append each operation whose commit returned."""
        return self.folder / "acknowledged"

    async def create_tables(self) -> None:
        """Create the workload's own tables, and the column that the history needs."""
        for url, statements in ((self.producer_url, PRODUCER_TABLES), (self.consumer_url, CONSUMER_TABLES)):
            connection = await asyncpg.connect(dsn_of(url))
            for statement in statements:
                await connection.execute(statement)
            await connection.close()
            await applied_times.add_column(url)

"""Records by topic from the end offsets, and requests by client from the broker's request log."""

import json
import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from aiokafka import AIOKafkaConsumer, TopicPartition

CLIENT_ID = "work-counter"
"""The client id of the counter itself, whose requests do not count."""
LOG4J_CONFIGURATION = Path(__file__).with_name("log4j2_requests.yaml")
_REQUEST = re.compile(r"Completed request:(\{.*\})\s*$")


@dataclass
class RecordCounter:
    """Counts the records of topics in windows that follow each other; names them without their prefix."""

    bootstrap_servers: str
    prefix: str
    topics: Collection[str]
    _partitions: list[TopicPartition] = field(default_factory=list)
    _ends: dict[TopicPartition, int] = field(default_factory=dict)
    _consumer: AIOKafkaConsumer | None = None

    async def __aenter__(self) -> Self:
        """Connect, and begin the first window."""
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap_servers, client_id=CLIENT_ID, enable_auto_commit=False
        )
        await self._consumer.start()
        metadata = await self._consumer._client.fetch_all_metadata()
        self._partitions = [
            TopicPartition(name, number)
            for name in (self.prefix + topic for topic in self.topics)
            for number in metadata.partitions_for_topic(name) or ()
        ]
        await self.read()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Disconnect."""
        if self._consumer is not None:
            await self._consumer.stop()

    async def read(self) -> Counter[str]:
        """Return the records of each topic since the last call."""
        assert self._consumer is not None
        before, self._ends = self._ends, await self._consumer.end_offsets(self._partitions)
        counted = Counter[str]()
        for partition, end in self._ends.items():
            counted[partition.topic.removeprefix(self.prefix)] += end - before.get(partition, end)
        return counted


@dataclass
class RequestLog:
    """Reads a broker's request log in windows that follow each other."""

    path: Path
    _offset: int = 0

    def read(self) -> Counter[str]:
        """Return the requests since the last call by "client id: API", those of the counter left out."""
        with self.path.open("rb") as log:
            log.seek(self._offset)
            # A line that is still being written belongs to the next window.
            content = log.read().rpartition(b"\n")[0]
        self._offset += len(content)
        found = (_REQUEST.search(line) for line in content.decode(errors="replace").splitlines())
        headers = [json.loads(one[1])["requestHeader"] for one in found if one]
        return Counter(
            f"{header.get('clientId')}: {header['requestApiKeyName']}"
            for header in headers
            if header.get("clientId") != CLIENT_ID
        )

"""The relay: how many events a second it takes out of a full outbox."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import asyncpg

from shared.database import dsn_of
from shared.messaging.publisher import Publisher
from shared.messaging.relay import Relay
from tests.bench import rivals
from tests.bench.backlog import TOPIC, count_messages, expect_messages, fill_outbox, messages
from tests.bench.figures import Figure, compared
from tests.bench.setting import Setting
from tests.bench.waiting import OUTBOX_IS_EMPTY, until

FASTSTREAM_SHARE = 10
"""faststream-outbox gets a tenth of the events: it is slow, and its rate does not depend on how many there are."""
DRAINED_SECONDS = 120.0


async def measure(setting: Setting) -> list[Figure]:
    """The rate against both rivals."""
    field = await _prepared_field(setting)
    contenders: dict[str, Callable[[], Awaitable[float]]] = {
        "relay": field.relay,
        "bare": field.bare,
        "faststream": field.faststream_outbox,
    }
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(setting.rounds):
        for name, contend in contenders.items():
            rates[name].append(await contend())
    what = "from a full outbox into Kafka"
    return [
        compared(
            "relay",
            what,
            rates["relay"],
            unit="events/s",
            against="bare aiokafka producer",
            baseline_values=rates["bare"],
            goal=0.5,
        ),
        compared(
            "relay",
            what,
            rates["relay"],
            unit="events/s",
            against="faststream-outbox 0.19",
            baseline_values=rates["faststream"],
            goal=5,
        ),
    ]


async def _prepared_field(setting: Setting) -> "_Field":
    database_url = await setting.new_database("relay")
    await rivals.prepare_faststream_outbox(database_url)
    return _Field(
        kafka=setting.ground.kafka,
        events=setting.events,
        database_url=database_url,
        topic_prefix=await setting.new_topics("relay"),
    )


@dataclass(frozen=True)
class _Field:
    """The contenders; each answers in events a second, and fails if one is missing in the topic."""

    kafka: str
    events: int
    database_url: str
    topic_prefix: str

    async def relay(self) -> float:
        await fill_outbox(self.database_url, events=self.events)
        publisher = Publisher(bootstrap_servers=self.kafka, client_id="bench", topic_prefix=self.topic_prefix)
        await publisher.ping()
        dsn = dsn_of(self.database_url)
        return await self._rate(lambda: _drain(dsn, publisher), events=self.events)

    async def bare(self) -> float:
        prepared = messages(self.events)
        return await self._rate(
            lambda: rivals.send_bare(self.kafka, self.topic_prefix + TOPIC, prepared), events=self.events
        )

    async def faststream_outbox(self) -> float:
        events = self.events // FASTSTREAM_SHARE
        await rivals.fill_faststream_outbox(self.database_url, messages(events))
        return await self._rate(
            lambda: rivals.drain_faststream_outbox(
                self.database_url, kafka=self.kafka, topic=self.topic_prefix + TOPIC
            ),
            events=events,
        )

    async def _rate(self, contend: Callable[[], Awaitable[float]], *, events: int) -> float:
        topic = self.topic_prefix + TOPIC
        before = await count_messages(self.kafka, topic)
        seconds = await contend()
        await expect_messages(self.kafka, topic, before=before, events=events)
        return events / seconds


async def _drain(dsn: str, publisher: Publisher) -> float:
    """Seconds from the relay's start until no row waits."""
    relay = Relay(dsn=dsn, publisher=publisher)
    connection = await asyncpg.connect(dsn)
    started = time.perf_counter()
    running = asyncio.create_task(relay.run())
    await until(connection, OUTBOX_IS_EMPTY, seconds=DRAINED_SECONDS)
    seconds = time.perf_counter() - started
    relay.stop()
    await running
    await relay.close()
    await connection.close()
    return seconds

"""The relay: how many events a second it takes out of a full outbox."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from shared.database import dsn_of
from shared.messaging.outbox.publisher import Publisher
from shared.messaging.outbox.relay import Relay
from tests.bench import rivals
from tests.bench.backlog import TOPIC, count_messages, expect_messages, fill_outbox, messages
from tests.bench.figures import Figure
from tests.bench.setting import Round, Setting
from tests.bench.waiting import OUTBOX_IS_EMPTY, until

FASTSTREAM_SHARE = 10
"""faststream-outbox gets a tenth of the events: it is slow, and its rate does not depend on how many there are."""
DRAINED_SECONDS = 120.0


@asynccontextmanager
async def relaying(setting: Setting) -> AsyncIterator[Round]:
    """The rate against both rivals."""
    field = await _prepared_field(setting)
    yield [field.once]


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

    async def once(self) -> list[Figure]:
        rate = await self.relay()
        rivals_rates = {
            "bare aiokafka producer": (await self.bare(), 0.5),
            "faststream-outbox 0.19": (await self.faststream_outbox(), 5),
        }
        return [
            Figure(
                bench="relay",
                what="from a full outbox into Kafka",
                values=(rate,),
                unit="events/s",
                better="more",
                baseline=rival,
                baseline_values=(rivals_rate,),
                goal=goal,
            )
            for rival, (rivals_rate, goal) in rivals_rates.items()
        ]

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

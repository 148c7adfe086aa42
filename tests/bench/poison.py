"""Poison: whether events that can't be applied hold up those of other keys."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import sqlalchemy as sa
from aiokafka import AIOKafkaProducer
from sqlalchemy.ext.asyncio import AsyncSession

from shared.errors import Problem
from shared.events.users import UserUpdated
from shared.ids import new_id
from shared.messaging.consumer.subscription import Subscription
from shared.messaging.envelope import EventContext
from tests.bench.backlog import TOPIC, Message, message_of, messages, user_event
from tests.bench.consuming_rivals import UPSERT_ONE
from tests.bench.delay import Delay, percentiles
from tests.bench.figures import Figure
from tests.bench.reading import reading
from tests.bench.replica import create_replica
from tests.bench.setting import Round, Setting

RATE = 500
SECONDS = 8
WARM_SECONDS = 2
POISON_EVERY = 200
"""Of 200 events one is poison: refused, or a fault of the handler's own, in turn; each has a key of its own."""
LOCALES = {"rule_violated": "x-refused", "broken": "x-broken"}
BACKLOG_WAIT_SECONDS = 10.0
LIMIT = 1.1


class EventNotWanted(Problem):
    """The reader refuses this one for good."""

    status = 409
    code = "not_wanted"


@asynccontextmanager
async def poison(setting: Setting) -> AsyncIterator[Round]:
    """From sending to applied, of the good events: with poison among them, and without."""

    async def once() -> list[Figure]:
        without, with_poison = [await _delay(setting, is_poisoned=is_poisoned) for is_poisoned in (False, True)]
        return [
            Figure(
                bench="poison",
                what=f"sent to applied, {percentile}, other keys than the poison's, {RATE} events/s",
                values=(getattr(with_poison, percentile),),
                unit="ms",
                better="less",
                baseline="the same without poison",
                baseline_values=(getattr(without, percentile),),
                baseline_has_rows=True,
                goal=LIMIT,
            )
            for percentile in ("p50", "p99")
        ]

    yield [once]


async def _delay(setting: Setting, *, is_poisoned: bool) -> Delay:
    database_url, prefix = await setting.new_database("poison"), await setting.new_topics("poison")
    await create_replica(database_url)
    applied: dict[str, float] = {}
    kafka = setting.ground.kafka
    consumer = reading(
        _noting(applied), database_url=database_url, kafka=kafka, topic_prefix=prefix, name=f"reader.{TOPIC}"
    )
    async with consumer:
        sent = await _send(kafka, prefix + TOPIC, is_poisoned=is_poisoned)
        async with asyncio.timeout(BACKLOG_WAIT_SECONDS):
            while not sent.keys() <= applied.keys():  # noqa: ASYNC110 - handlers tell nobody
                await asyncio.sleep(0.05)
    return percentiles([1000 * (applied[event_id] - at) for event_id, at in sent.items()])


def _noting(applied: dict[str, float]) -> Subscription:
    """Notes when the handler of an event was done, the last time that it ran."""
    users = Subscription(TOPIC, partitions_at_once=3)

    @users.on(UserUpdated)
    async def remember(session: AsyncSession, user: UserUpdated, context: EventContext) -> None:
        await session.execute(UPSERT_ONE, {"user_id": user.user_id, "email": user.email, "name": user.name})
        if user.locale == LOCALES["rule_violated"]:
            raise EventNotWanted
        if user.locale == LOCALES["broken"]:
            await session.execute(sa.text("SELECT 1 / 0"))
        applied[str(context.event_id)] = time.monotonic()

    return users


async def _send(kafka: str, topic: str, *, is_poisoned: bool) -> dict[str, float]:
    """At a steady rate; when each good event was sent, without those of the warm-up."""
    good = messages(RATE * (WARM_SECONDS + SECONDS))
    poisonous = [_poison(number) for number in range(len(good) // POISON_EVERY)] if is_poisoned else []
    sent: dict[str, float] = {}
    async with AIOKafkaProducer(bootstrap_servers=kafka, acks="all", enable_idempotence=True) as producer:
        started = time.monotonic()
        for number, message in enumerate(good):
            await asyncio.sleep(max(0.0, started + number / RATE - time.monotonic()))
            if number >= RATE * WARM_SECONDS:
                sent[_id_of(message)] = time.monotonic()
            await producer.send(topic, key=message.key, value=message.value, headers=message.headers)
            if poisonous and number % POISON_EVERY == 0:
                bad = poisonous[number // POISON_EVERY]
                await producer.send(topic, key=bad.key, value=bad.value, headers=bad.headers)
    return sent


def _poison(number: int) -> Message:
    locale = LOCALES["rule_violated" if number % 2 else "broken"]
    return message_of(user_event(new_id(), number).model_copy(update={"locale": locale}), sequence=1)


def _id_of(message: Message) -> str:
    return dict(message.headers)["ce_id"].decode()

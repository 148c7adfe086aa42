"""Poison: whether events that cannot be applied delay the events of other keys."""

import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from shared.errors import Problem
from shared.events.users import UserUpdated
from shared.ids import new_id
from shared.messaging.consumer.subscription import Subscription
from shared.messaging.envelope import EventContext
from tests.bench.events import TOPIC, Message, message_of, messages, send_at_rate, user_event
from tests.bench.fixtures import Benchmark, Fixtures
from tests.bench.measurement import Measurement, latencies
from tests.bench.replica import BULK_UPSERT, UPSERT_ONE, columns_of, consuming, create_replica
from tests.harness.waiting import until

RATE = 500
SECONDS = 8
WARM_UP_SECONDS = 2
GOOD_EVENTS = RATE * (WARM_UP_SECONDS + SECONDS)
POISON_EVERY = 200
"""One poison event for each 200 good ones: a rule violation or a bug in the handler, in turn, each with its own key."""
RULE_VIOLATION, HANDLER_BUG = "x-rule-violation", "x-handler-bug"
"""The locales of poison events."""
APPLY_TIMEOUT_SECONDS = 10.0
MAX_RATIO = 1.1

Subscribe = Callable[[dict[str, float]], Subscription]
"""Returns a subscription that stores by event id when the handler of an event last returned."""


class LocaleRejected(Problem):
    """The locale is not accepted."""

    status = 409
    code = "locale_rejected"


@asynccontextmanager
async def benchmark(fixtures: Fixtures) -> AsyncIterator[Benchmark]:
    """Measure the good events from sending to applied, with and without poison among them."""

    async def measure(_round: int) -> list[Measurement]:
        found: list[Measurement] = []
        for handler, subscribe in (("single events", _single_events), ("batches", _batches)):
            found += latencies(
                f"poison, handler of {handler}: sent to applied, {RATE} events/s, other keys than the poison's",
                baseline_seconds=await _delays(fixtures, subscribe, with_poison=False),
                seconds=await _delays(fixtures, subscribe, with_poison=True),
                baseline="the same without poison",
                baseline_uses_tables=True,
                ratio_goal=MAX_RATIO,
            )
        return found

    yield measure


async def _delays(fixtures: Fixtures, subscribe: Subscribe, *, with_poison: bool) -> list[float]:
    kafka = fixtures.servers.kafka
    database_url, topic_prefix = await fixtures.create_database("poison"), await fixtures.create_topics("poison")
    await create_replica(database_url)
    applied: dict[str, float] = {}
    subscription = subscribe(applied)

    async def all_are_applied() -> bool:
        return len(applied) == GOOD_EVENTS

    async with consuming(subscription, database_url, kafka=kafka, topic_prefix=topic_prefix, group=f"bench.{TOPIC}"):
        mixed = list(_messages(with_poison=with_poison))
        sent = await send_at_rate(kafka, topic_prefix + TOPIC, mixed, per_second=RATE, warm_up_seconds=WARM_UP_SECONDS)
        await until(all_are_applied, seconds=APPLY_TIMEOUT_SECONDS, what="the application of all events")
    return [applied[event_id] - sent_at for event_id, (sent_at, _) in sent.items() if event_id in applied]


def _single_events(applied: dict[str, float]) -> Subscription:
    users = Subscription(TOPIC, batches_at_once=3)

    @users.on(UserUpdated)
    async def upsert(session: AsyncSession, user: UserUpdated, context: EventContext) -> None:
        await session.execute(UPSERT_ONE, {"user_id": user.user_id, "personal": user.personal, "locale": user.locale})
        await _fail_for(session, user)
        applied[str(context.event_id)] = time.monotonic()

    return users


def _batches(applied: dict[str, float]) -> Subscription:
    users = Subscription(TOPIC, batches_at_once=3)

    @users.on_batch(UserUpdated)
    async def upsert(session: AsyncSession, events: Sequence[tuple[UserUpdated, EventContext]]) -> None:
        await session.execute(BULK_UPSERT, columns_of([user for user, _ in events]))
        for user, _ in events:
            await _fail_for(session, user)
        applied.update(dict.fromkeys((str(context.event_id) for _, context in events), time.monotonic()))

    return users


async def _fail_for(session: AsyncSession, user: UserUpdated) -> None:
    if user.locale == RULE_VIOLATION:
        raise LocaleRejected
    if user.locale == HANDLER_BUG:
        await session.execute(sa.text("SELECT 1 / 0"))


def _messages(*, with_poison: bool) -> Iterator[Message]:
    for number, good in enumerate(messages(GOOD_EVENTS)):
        yield good
        if with_poison and number % POISON_EVERY == 0:
            locale = RULE_VIOLATION if number % (2 * POISON_EVERY) else HANDLER_BUG
            event = user_event(new_id(), number).model_copy(update={"locale": locale})
            yield message_of(event, sequence=1)

"""A subscription whose events may wait gets them in few fetches, and gets the last of them too."""

from collections.abc import Callable, Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from shared.database import Database
from shared.events.users import CreditReserved
from shared.ids import new_id
from shared.messaging.consumer.group import ConsumerGroups
from shared.messaging.consumer.subscription import Subscription
from shared.messaging.envelope import EventContext
from tests.harness.running import running_consumers
from tests.harness.waiting import until
from tests.shared.effects import add_effects, has_effects
from tests.shared.messaging.consumer.topic import Topic

EVENTS = 20


async def test_events_that_may_wait_are_fetched_together(
    database: Database, topic: Topic, consumers_of: Callable[..., ConsumerGroups]
) -> None:
    users, calls = Subscription("users", fetch_min_bytes=1024 * 1024), []

    @users.on_batch(CreditReserved)
    async def apply_all(session: AsyncSession, events: Sequence[tuple[CreditReserved, EventContext]]) -> None:
        calls.append(len(events))
        await add_effects(session, *(context for _, context in events))

    async with running_consumers(consumers_of(database, handlers=users)):
        await topic.send(new_id(), 1)
        await until(has_effects(database, 1), what="the member has joined, and even a lone event is applied")
        calls.clear()
        for _ in range(EVENTS):
            await topic.send(new_id(), 1)
        await until(has_effects(database, EVENTS + 1), what="all events are applied")
    assert len(calls) < EVENTS

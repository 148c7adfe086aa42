"""A member that stops waits for its tasks, but not for one that ignores its cancellation."""

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession
from structlog.testing import capture_logs

from shared.database import Database
from shared.events.users import CreditReserved
from shared.ids import new_id
from shared.messaging.consumer.group import ConsumerGroups
from shared.messaging.consumer.member import STOP_TIMEOUT_SECONDS
from shared.messaging.consumer.subscription import Subscription
from shared.messaging.envelope import EventContext
from tests.harness.rows import Rows
from tests.harness.running import running_consumers
from tests.harness.waiting import until
from tests.shared.effects import CONSUMER, add_effects, has_effects
from tests.shared.messaging.consumer.topic import Topic


class StubbornHandler:
    """A handler that ignores its cancellation, and ends once the test sets `may_end`."""

    def __init__(self) -> None:
        self.calls = 0
        self.cancellations = 0
        self.may_end = asyncio.Event()
        self.subscription = Subscription("users")
        self.subscription.on(CreditReserved)(self._apply)

    async def _apply(self, session: AsyncSession, _event: CreditReserved, context: EventContext) -> None:
        self.calls += 1
        while not self.may_end.is_set():
            try:
                await self.may_end.wait()
            except asyncio.CancelledError:
                self.cancellations += 1
        await add_effects(session, context)


async def test_a_stop_does_not_wait_for_a_handler_that_ignores_its_cancellation(
    database: Database,
    topic: Topic,
    consumers_of: Callable[..., ConsumerGroups],
    committed: Callable[[UUID], Awaitable[int | None]],
) -> None:
    user_id, handler = new_id(), StubbornHandler()
    consumers = consumers_of(database, handlers=handler.subscription)

    async def is_handling() -> bool:
        return handler.calls == 1

    await topic.send(user_id, 1)
    with capture_logs() as logs:
        await consumers.run()
        await until(is_handling, what="the handler has begun")
        try:
            # One time-out for the fetch to end, one for the cancelled task.
            async with asyncio.timeout(3 * STOP_TIMEOUT_SECONDS):
                await consumers.stop()
            cancellations, offset = handler.cancellations, await committed(user_id)
        finally:
            # Otherwise the end of the event loop would wait for it.
            handler.may_end.set()
    assert [line["event"] for line in logs if line.get("consumer") == CONSUMER] == [
        "fetch_cancelled",
        "consumer_not_ended",
    ]
    assert (cancellations, offset) == (1, None)

    await until(has_effects(database, 1), what="the handler has ended after all")
    await topic.send(user_id, 2)
    async with running_consumers(consumers_of(database)):
        await until(has_effects(database, 2), what="the next member has applied the rest")
    # The next member got the first event again, and recognised it.
    assert await Rows(database.sessions).effects() == [(str(user_id), 1), (str(user_id), 2)]

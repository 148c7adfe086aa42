"""The path from a Kafka record to its rows stays short enough to read; docs/decisions/0004-consuming.md draws it."""

import inspect
import sys

from sqlalchemy.ext.asyncio import AsyncSession

from shared.database import open_database
from shared.events.users import UserUpdated
from shared.ids import new_id
from shared.messaging.consumer.subscription import Subscription
from shared.messaging.consumer.worker import ConsumerWorker
from shared.messaging.envelope import EventContext
from tests.architecture.source import CHECKOUT
from tests.harness.builders import received, record_of
from tests.harness.databases import DatabaseFactory
from tests.harness.personal_keys import profile_event

DRAWN = CHECKOUT / "docs" / "decisions" / "0004-consuming.md"
BEFORE = ["handle", "apply"]
"""The frames of the fetch; each share of it is applied in a task of its own."""
AFTER = ["command"]
"""The frame below the handler, which writes the rows."""


async def test_a_message_reaches_its_rows_in_nine_frames(database_factory: DatabaseFactory) -> None:
    database = open_database(await database_factory("users"), service="test", pool_size=1)
    users, frames = Subscription("users"), list[str]()

    @users.on(UserUpdated)
    async def handler(_session: AsyncSession, _event: UserUpdated, _context: EventContext) -> None:
        stack = inspect.getouterframes(sys._getframe())
        frames.extend(
            frame.function for frame in reversed(stack) if frame.filename.startswith(str(CHECKOUT / "shared"))
        )

    event = profile_event(UserUpdated, new_id())
    worker = ConsumerWorker(name="test.users", subscription=users, sessions=database.sessions)
    await worker.apply([record_of(received(event, sequence=1))])
    await database.close()

    path = [*BEFORE, *frames, "handler", *AFTER]
    assert frames == ["_apply_in_batches", "_apply_batch", "_in_transaction", "apply_batch", "dispatch"]
    assert len(path) == 9
    drawing = DRAWN.read_text().partition("```")[2].partition("```")[0]
    assert [name for name in path if name not in drawing] == []

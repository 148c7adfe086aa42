"""Waiting for the relays."""

from shared.database import Sessions
from tests.harness.rows import Rows
from tests.harness.waiting import until


async def until_outbox_is_empty(sessions: Sessions, *, seconds: float = 60) -> None:
    """Wait until relays have published all events, and have moved them out of the outbox."""
    rows = Rows(sessions)

    async def is_empty() -> bool:
        return await rows.count("outbox") == 0

    await until(is_empty, seconds=seconds, what="the outbox is empty")

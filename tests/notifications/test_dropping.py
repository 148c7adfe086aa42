"""Operators drop notifications of orders that the orders service does not know, and repeated ones."""

from uuid import UUID, uuid4

import pytest

from shared.database import Sessions
from shared.ids import new_id
from tests.harness.databases import execute_as_owner
from tests.harness.rows import Rows
from tests.harness.tool import Tool
from tests.notifications.events import apply, order_confirmed, user_created

NOTE = ("--note", "the order is unknown")
USER = new_id()


@pytest.fixture
def tool(database_url: str) -> Tool:
    return Tool("notifications", database_url)


async def _notify(sessions: Sessions) -> tuple[UUID, UUID]:
    """Notify the user of the sign-up and of two orders; return the ids of the orders."""
    await apply(sessions, user_created(USER))
    orders = [order_confirmed(USER), order_confirmed(USER)]
    await apply(sessions, *orders)
    return orders[0].order_id, orders[1].order_id


async def _subjects(sessions: Sessions) -> list[str]:
    query = "SELECT coalesce(data->>'order_id', event_type) FROM notification ORDER BY id"
    return [row[0] for row in await Rows(sessions).of(query)]


async def test_the_notifications_of_an_unknown_order_are_dropped(sessions: Sessions, tool: Tool) -> None:
    first, second = await _notify(sessions)
    about = ("notifications", "drop", "--order", str(first), *NOTE)

    assert (await tool(*about))[:2] == (0, "1 dropped\n")
    assert (await tool(*about))[:2] == (0, "0 dropped\n")

    assert await _subjects(sessions) == ["user.created", str(second)]
    assert await Rows(sessions).of("SELECT count(*) FROM delivery") == [(4,)]


async def test_one_notification_is_dropped_by_its_id(sessions: Sessions, tool: Tool) -> None:
    first, second = await _notify(sessions)
    ids = [row[0] for row in await Rows(sessions).of("SELECT id::text FROM notification ORDER BY id")]

    status, _, log = await tool("notifications", "drop", "--id", ids[0], *NOTE, "--actor", "ada")

    assert status == 0
    assert ("notifications_dropped" in log, "ada" in log, ids[0] in log) == (True, True, True)
    assert await _subjects(sessions) == [str(first), str(second)]


async def test_a_mail_that_is_being_sent_keeps_its_notification(sessions: Sessions, tool: Tool) -> None:
    first, _ = await _notify(sessions)
    await execute_as_owner(
        sessions, "UPDATE delivery SET status = 'sending', next_attempt_at = now() WHERE channel = 'email'"
    )

    status, _, error = await tool("notifications", "drop", "--order", str(first), *NOTE)

    assert status == 2
    assert "is being sent" in error
    assert len(await _subjects(sessions)) == 3


@pytest.mark.parametrize("selection", [(), ("--order", str(uuid4()), "--id", str(uuid4()))])
async def test_an_ambiguous_selection_drops_nothing(sessions: Sessions, tool: Tool, selection: tuple[str, ...]) -> None:
    await _notify(sessions)

    assert (await tool("notifications", "drop", *selection, *NOTE))[0] == 2
    assert len(await _subjects(sessions)) == 3

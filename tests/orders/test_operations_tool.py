"""`parked`, `outbox` and `republish` on the command line, as real processes."""

from uuid import UUID

from services.orders.subscribers import users
from shared.database import Database
from shared.events.contract import Event
from shared.events.users import CreditReserved, UserUpdated
from shared.ids import new_id
from shared.messaging.consumer.batch import store_dead_letter
from shared.messaging.dead_letters.reason import DeadLetterReason
from shared.messaging.dead_letters.store import NewDeadLetter
from tests.harness.builders import received
from tests.harness.rows import Rows
from tests.orders.operations_tool import Tool
from tests.orders.shop import Shop
from tests.shared.operations.blocked_keys import dead_letter_all


def updated(user_id: UUID, name: str) -> Event:
    return UserUpdated(user_id=user_id, email="a@example.org", name=name, phone=None, locale="en", time_zone="UTC")


async def dead_letter_key(database: Database, *, events: int) -> UUID:
    """A user whose first change is parked, and the others behind it."""
    user_id = new_id()
    await dead_letter_all(
        database.sessions,
        lambda sequence: updated(user_id, f"Name {sequence}"),
        events=events,
        consumer="orders.users",
        handlers=users,
    )
    return user_id


async def dead_letter_invalid(database: Database) -> UUID:
    """An event that will never fit its schema."""
    event = received(CreditReserved(user_id=new_id(), order_id=new_id(), amount_cents=1, currency="GBP"), sequence=1)
    broken = event._replace(value=b'{"amount_cents": "\x1b[31mmany"}')
    async with database.sessions.begin() as session:
        await store_dead_letter(
            session,
            consumer="orders.users",
            topic="users",
            dead_letter=NewDeadLetter(broken, DeadLetterReason.INVALID, "amount_cents: int_type"),
        )
    return UUID(event.key)


async def test_people_get_tables_and_programs_one_document(tool: Tool, database: Database) -> None:
    key = await dead_letter_invalid(database)
    status, table, _ = await tool("dead-letters", "list")
    assert status == 0
    assert all(word in table for word in ("consumer", "orders.users", str(key), "amount_cents: int_type"))
    assert await tool("dead-letters", "list", "--key", "another") == (0, "There are no dead letters.\n", "")
    status, (listed,) = await tool.json("dead-letters", "list", "--reason", "invalid")
    assert (status, listed["key"], listed["reason"]) == (0, str(key), "invalid")
    status, shown, _ = await tool("dead-letters", "show", str(listed["id"]))
    assert (status, "ce_type" in shown, "\x1b" in shown, r"\x1b[31mmany" in shown) == (0, True, False, True)
    status, document = await tool.json("dead-letters", "show", str(listed["id"]))
    assert (status, document["id"], document["actions"]) == (0, listed["id"], [])


async def test_a_replay_goes_key_by_key_and_its_exit_status_tells_that_one_stopped(
    tool: Tool, database: Database
) -> None:
    bad, good = await dead_letter_invalid(database), await dead_letter_key(database, events=3)
    status, plan = await tool.json("dead-letters", "replay", "--all", "--dry-run")
    assert (status, [(key["key"], key["dead_letters"]) for key in plan["keys"]]) == (0, [(str(bad), 1), (str(good), 3)])
    status, report = await tool.json("dead-letters", "replay", "--all", "--actor", "ada")
    assert status == 1
    assert [(key["key"], key["applied"], key["error"] is None) for key in report["keys"]] == [
        (str(bad), 0, False),
        (str(good), 3, True),
    ]
    rows = Rows(database.sessions)
    assert await rows.of("SELECT name FROM customer") == [("Name 3",)]
    assert set(await rows.of("SELECT actor FROM dead_letter_action")) == {("ada",)}
    assert (await tool("dead-letters", "replay", "--key", str(good)))[0] == 0


async def test_a_discard_needs_a_choice_and_for_a_filter_a_yes(tool: Tool, database: Database) -> None:
    await dead_letter_key(database, events=2)
    status, (first, _) = await tool.json("dead-letters", "list")
    for wrong in ([], ["--key", first["key"]], ["--id", str(first["id"]), "--key", first["key"]]):
        assert (await tool("dead-letters", "discard", "--note", "a test", *wrong))[0] == 2
    status, report = await tool.json("dead-letters", "discard", "--note", "a test", "--id", str(first["id"]))
    assert (status, [event["id"] for event in report["dead_letters"]], report["drained"]) == (0, [first["id"]], 1)
    rows = Rows(database.sessions)
    assert await rows.of("SELECT name FROM customer") == [("Name 2",)]
    other = await dead_letter_key(database, events=2)
    arguments = ["dead-letters", "discard", "--note", "a test", "--key", str(other), "--yes"]
    assert "2 discarded, 0 events behind them applied" in (await tool(*arguments))[1]
    actors = {actor for (actor,) in await rows.of("SELECT actor FROM dead_letter_action WHERE action = 'discard'")}
    assert all("@" in actor for actor in actors)


async def test_the_outbox_is_shown_and_what_was_sent_is_counted_and_sent_again(tool: Tool, shop: Shop) -> None:
    await shop.stock_up("A")
    status, shown = await tool.json("outbox", "status")
    assert (status, shown["waiting"], shown["leases"]) == (0, 1, [])
    assert "waiting" in (await tool("outbox", "status"))[1]
    since = ["--since", "2020-01-01T00:00:00Z"]
    assert (await tool("outbox", "resend", *since, "--dry-run"))[:2] == (0, "0 events would be resent\n")
    status, done = await tool.json("outbox", "resend", *since)
    assert (status, done["status"], done["total"]) == (0, "done", 0)
    assert (await tool("outbox", "resend", "--since", "2020-01-01"))[0] == 2


async def test_states_are_sent_again(tool: Tool, shop: Shop) -> None:
    await shop.stock_up("A")
    await shop.placed(("A", 1))
    status, done = await tool.json("republish", "--type", "products", "--type", "orders")
    assert (status, done["status"], done["done"]) == (0, "done", 2)
    assert [type_ for type_, _ in await shop.events("orders")] == ["order.created", "order.snapshot"]
    assert [type_ for type_, _ in await shop.events("products")] == ["product.created", "product.updated"]
    status, _, err = await tool("republish", "--type", "users")
    assert (status, err) == (2, "It sends: products, orders.\n")


async def test_a_database_that_is_away_is_said_in_one_line(tool: Tool) -> None:
    status, out, err = await tool("dead-letters", "list", url="postgresql+asyncpg://nobody:x@127.0.0.1:1/nothing")
    assert (status, out) == (1, "")
    assert err.startswith("The database does not answer: ")
    assert len(err.splitlines()) == 1

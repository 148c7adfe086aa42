"""`dead-letters`, `outbox` and `republish` on the command line, as real processes."""

from uuid import UUID

from services.orders.customer_commands import replace_customers
from services.orders.subscribers import users
from shared.database import Database
from shared.events.contract import Event
from shared.events.users import CreditReserved, UserUpdated
from shared.ids import new_id
from shared.messaging.consumer.worker import ConsumerWorker
from shared.messaging.dead_letters.reason import DeadLetterReason
from shared.operations.replay import NOT_NAMED
from shared.sealed_contacts import open_contacts
from tests.harness.builders import received, record_of
from tests.harness.personal_keys import StoredKeys, profile_event
from tests.harness.rows import Rows
from tests.harness.tool import Tool
from tests.orders.service import OrdersService
from tests.shared.operations.blocked_keys import block_key, store_as_dead_letter


def updated(user_id: UUID, name: str) -> Event:
    return profile_event(UserUpdated, user_id, name=name)


async def customers(database: Database, *user_ids: UUID) -> list[tuple[str, int]]:
    """Open the contacts of these users, as the job does, and return their names and sequences."""
    keys = StoredKeys().personal_keys()
    await open_contacts(database.sessions, user_ids, keys=keys, replace=replace_customers)
    return [
        (name, sequence) for name, sequence in await Rows(database.sessions).of("SELECT name, sequence FROM customer")
    ]


async def blocked_key(database: Database, *, events: int) -> UUID:
    """Store dead letters of one user, the first with an error and the others blocked by it; return the user's id."""
    user_id = new_id()
    await block_key(
        database.sessions,
        lambda sequence: updated(user_id, f"Name {sequence}"),
        events=events,
        consumer="orders.users",
        handlers=users,
    )
    return user_id


async def invalid_dead_letter(database: Database) -> UUID:
    """Store a dead letter of an event that does not match its schema, and return its key."""
    event = received(CreditReserved(user_id=new_id(), order_id=new_id(), amount_cents=1, currency="GBP"), sequence=1)
    broken = event._replace(value=b'{"amount_cents": "\x1b[31mmany"}')
    await store_as_dead_letter(
        database.sessions,
        broken,
        consumer="orders.users",
        reason=DeadLetterReason.INVALID,
        error="amount_cents: int_type",
    )
    return UUID(event.key)


async def test_dead_letters_are_printed_as_a_table_or_as_json(tool: Tool, database: Database) -> None:
    key = await invalid_dead_letter(database)
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


async def test_a_replay_that_stops_at_one_key_exits_with_1(tool: Tool, database: Database) -> None:
    bad, good = await invalid_dead_letter(database), await blocked_key(database, events=3)
    status, plan = await tool.json("dead-letters", "replay", "--all", "--dry-run")
    assert (status, [(key["key"], key["dead_letters"]) for key in plan["keys"]]) == (0, [(str(bad), 1), (str(good), 3)])
    status, report = await tool.json("dead-letters", "replay", "--all", "--actor", "ada")
    assert status == 1
    assert [(key["key"], key["applied"], key["error"] is None) for key in report["keys"]] == [
        (str(bad), 0, False),
        (str(good), 3, True),
    ]
    rows = Rows(database.sessions)
    assert await customers(database, good) == [("Name 3", 3)]
    assert set(await rows.of("SELECT actor FROM dead_letter_action")) == {("ada",)}
    assert (await tool("dead-letters", "replay", "--key", str(good)))[0] == 0


async def test_a_discard_needs_ids_or_a_confirmed_filter(tool: Tool, database: Database) -> None:
    await blocked_key(database, events=2)
    status, (first, _) = await tool.json("dead-letters", "list")
    for wrong in ([], ["--key", first["key"]], ["--id", str(first["id"]), "--key", first["key"]]):
        assert (await tool("dead-letters", "discard", "--note", "a test", *wrong))[0] == 2
    status, report = await tool.json("dead-letters", "discard", "--note", "a test", "--id", str(first["id"]))
    assert (status, [event["id"] for event in report["dead_letters"]], report["drained"]) == (0, [first["id"]], 1)
    rows = Rows(database.sessions)
    assert await customers(database, UUID(first["key"])) == [("Name 2", 2)]
    other = await blocked_key(database, events=2)
    arguments = ["dead-letters", "discard", "--note", "a test", "--key", str(other)]
    assert "2 would be discarded\n" in (await tool(*arguments, "--dry-run"))[1]
    assert "2 discarded, 0 blocked events applied" in (await tool(*arguments, "--yes"))[1]
    actors = {actor for (actor,) in await rows.of("SELECT actor FROM dead_letter_action WHERE action = 'discard'")}
    assert all("@" in actor for actor in actors)


async def test_a_position_is_shown_and_reset_and_an_older_event_still_overwrites_nothing(
    tool: Tool, database: Database
) -> None:
    user_id = new_id()
    place = ["--consumer", "orders.users", "--key", str(user_id)]
    assert (await tool("positions", "show", *place))[0] == 2
    newer, older = [received(updated(user_id, f"Name {n}"), sequence=n) for n in (7, 3)]
    worker = ConsumerWorker(name="orders.users", subscription=users, sessions=database.sessions)
    await worker.apply([record_of(newer)])
    assert await customers(database, user_id) == [("Name 7", 7)]

    status, out, _ = await tool("positions", "reset", *place, "--to", "2", "--note", "forged", "--actor", "ada")
    assert (status, "ada" in out, "forged" in out) == (0, True, True)
    await worker.apply([record_of(older)])

    status, shown = await tool.json("positions", "show", *place)
    assert (status, shown["sequence"], shown["dead_letters"]) == (0, 3, 0)
    assert [(each["actor"], each["before"], each["after"], each["note"]) for each in shown["actions"]] == [
        ("ada", 7, 2, "forged")
    ]
    assert await customers(database, user_id) == [("Name 7", 7)]
    assert (await tool("positions", "show", "--consumer", "orders.orders", "--key", "k"))[2] == (
        "The consumers of this service are orders.users.\n"
    )


async def test_a_replay_of_everything_skips_and_reports_what_is_out_of_order(tool: Tool, database: Database) -> None:
    user_id = new_id()
    newer, older = [received(updated(user_id, f"Name {n}"), sequence=n) for n in (7, 3)]
    worker = ConsumerWorker(name="orders.users", subscription=users, sessions=database.sessions)
    await worker.apply([record_of(newer), record_of(older)])

    status, report = await tool.json("dead-letters", "replay", "--all")
    assert (status, [(key["key"], key["applied"], key["error"]) for key in report["keys"]]) == (
        1,
        [(str(user_id), 0, NOT_NAMED)],
    )
    assert (await tool("dead-letters", "replay", "--reason", "out_of_order"))[0] == 0
    assert await customers(database, user_id) == [("Name 7", 7)]


async def test_the_outbox_is_shown_and_sent_events_are_resent(tool: Tool, service: OrdersService) -> None:
    await service.add_product("A")
    status, shown = await tool.json("outbox", "status")
    assert (status, shown["waiting"], shown["leases"]) == (0, 1, [])
    assert "waiting" in (await tool("outbox", "status"))[1]
    since = ["--since", "2020-01-01T00:00:00Z"]
    assert (await tool("outbox", "resend", *since, "--dry-run"))[:2] == (0, "0 events would be resent\n")
    status, done = await tool.json("outbox", "resend", *since)
    assert (status, done["status"], done["total"]) == (0, "done", 0)
    assert (await tool("outbox", "resend", "--since", "2020-01-01"))[0] == 2


async def test_products_and_orders_are_republished(tool: Tool, service: OrdersService) -> None:
    await service.add_product("A")
    await service.place_order(("A", 1))
    status, done = await tool.json("republish", "--type", "products", "--type", "orders")
    assert (status, done["status"], done["done"]) == (0, "done", 2)
    assert [type_ for type_, _ in await service.events("orders")] == ["order.created", "order.snapshot"]
    assert [type_ for type_, _ in await service.events("products")] == ["product.created", "product.updated"]
    status, _, err = await tool("republish", "--type", "users")
    assert (status, err) == (2, "The service republishes: products, orders.\n")


async def test_an_unavailable_database_is_reported_in_one_line(tool: Tool) -> None:
    status, out, err = await tool("dead-letters", "list", url="postgresql+asyncpg://nobody:x@127.0.0.1:1/nothing")
    assert (status, out) == (1, "")
    assert err.startswith("The database does not answer: ")
    assert len(err.splitlines()) == 1

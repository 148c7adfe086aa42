"""The answers of the users service, and the deadline when there is none."""

import asyncio
from uuid import UUID, uuid4

import sqlalchemy as sa

from services.orders import commands
from services.orders.jobs import BATCH, cancel_overdue_orders, jobs
from services.orders.settings import Settings
from shared.database import dsn_of
from shared.events.contract import Event
from shared.events.users import CreditReserved
from shared.jobs import JobRunner
from tests.orders.shop import CUSTOMER, Shop, credit_refused, credit_reserved


async def test_reserved_credit_confirms_the_order_and_keeps_the_stock_held(shop: Shop) -> None:
    await shop.stock_up("A", stock=10)
    order = await shop.placed(("A", 4))

    await shop.receive(credit_reserved(order))

    assert (await shop.read(order))["status"] == "confirmed"
    assert await shop.stock("A") == (10, 4)


async def test_refused_credit_rejects_the_order_and_gives_the_stock_back(shop: Shop) -> None:
    await shop.stock_up("A", stock=10)
    order = await shop.placed(("A", 4))

    await shop.receive(credit_refused(order))

    rejected = await shop.read(order)
    assert rejected["status"] == "rejected"
    assert (rejected["timeline"][-1]["actor"], rejected["timeline"][-1]["reason"]) == ("system", "limit_exceeded")
    assert await shop.stock("A") == (10, 0)
    type_, data = (await shop.events("orders"))[-1]
    assert (type_, data["reason"]) == ("order.rejected", "limit_exceeded")


async def test_an_answer_that_comes_late_changes_nothing(shop: Shop) -> None:
    await shop.stock_up("A", stock=10)
    order = await shop.placed(("A", 4))
    await shop.act(order, "cancel", as_=shop.customer())
    before = (await shop.read(order), await shop.events("orders"))

    await shop.receive(credit_reserved(order), credit_refused(order))

    assert (await shop.read(order), await shop.events("orders")) == before
    assert await shop.stock("A") == (10, 0)


async def test_a_repeated_answer_changes_nothing(shop: Shop) -> None:
    await shop.stock_up("A", stock=10)
    order = await shop.placed(("A", 4))
    await shop.receive(credit_reserved(order), credit_reserved(order), credit_refused(order))
    assert (await shop.read(order))["status"] == "confirmed"
    assert await shop.stock("A") == (10, 4)
    assert [type_ for type_, _ in await shop.events("orders")] == ["order.created", "order.confirmed"]


async def test_an_answer_for_an_unknown_order_is_ignored(shop: Shop) -> None:
    await shop.receive(CreditReserved(user_id=CUSTOMER, order_id=uuid4(), amount_cents=1, currency="GBP"))
    assert await shop.events("orders") == []


async def test_one_slice_settles_many_orders(shop: Shop) -> None:
    await shop.stock_up("A", stock=10)
    await shop.stock_up("B", stock=10)
    orders = [await shop.placed(("A", 1), ("B", 2)) for _ in range(4)]

    answers: list[Event] = [credit_refused(order) for order in orders[:3]]
    await shop.receive(*answers, credit_reserved(orders[3]))

    assert (await shop.stock("A"), await shop.stock("B")) == ((10, 1), (10, 2))
    assert [(await shop.read(order))["status"] for order in orders] == ["rejected"] * 3 + ["confirmed"]


async def test_a_savepoint_that_is_rolled_back_gives_no_stock_back(shop: Shop) -> None:
    """And takes only its own settlements along, not those made before it."""
    await shop.stock_up("A", stock=10)
    kept, settled = await shop.placed(("A", 3)), await shop.placed(("A", 4))
    async with shop.sessions.begin() as session:
        await commands.reject_order(session, order_id=UUID(settled["id"]), reason="limit_exceeded")
        async with session.begin_nested() as savepoint:
            await commands.reject_order(session, order_id=UUID(kept["id"]), reason="limit_exceeded")
            await savepoint.rollback()

    assert (await shop.read(kept))["status"] == "pending"
    assert (await shop.read(settled))["status"] == "rejected"
    assert await shop.stock("A") == (10, 3)


async def test_a_transaction_that_is_rolled_back_leaves_no_settlement_to_the_next(shop: Shop) -> None:
    await shop.stock_up("A", stock=10)
    order = await shop.placed(("A", 4))
    async with shop.sessions() as session:
        await commands.reject_order(session, order_id=UUID(order["id"]), reason="limit_exceeded")
        await session.rollback()
        await session.execute(sa.text("SELECT 1"))
        await session.commit()

    assert await shop.stock("A") == (10, 4)


async def test_orders_past_their_deadline_are_cancelled_however_many(shop: Shop) -> None:
    await shop.stock_up("A", stock=1000)
    overdue = await shop.placed(("A", 2))
    in_time, confirmed = await shop.placed(("A", 3)), await shop.confirmed(("A", 4))
    await _copy(overdue, shop, times=BATCH)
    await shop.make_overdue(overdue, confirmed)

    await cancel_overdue_orders(shop.sessions)

    cancelled = await shop.read(overdue)
    assert (cancelled["status"], cancelled["timeline"][-1]["reason"]) == ("cancelled", "deadline")
    assert (await shop.read(in_time))["status"] == "pending"
    assert (await shop.read(confirmed))["status"] == "confirmed"
    reasons = [data["reason"] for type_, data in await shop.events("orders") if type_ == "order.cancelled"]
    assert reasons == ["deadline"] * (BATCH + 1)
    assert await shop.stock("A") == (1000, 7)
    assert await shop.unexplained_reservations() == []


async def test_an_order_that_is_being_changed_right_now_is_left_to_whoever_changes_it(shop: Shop) -> None:
    await shop.stock_up("A", stock=10)
    changing, other = await shop.placed(("A", 2)), await shop.placed(("A", 3))
    await shop.make_overdue(changing, other)

    async with shop.sessions.begin() as session:
        await session.execute(sa.text("SELECT 1 FROM customer_order WHERE id = :id FOR UPDATE"), {"id": changing["id"]})
        await cancel_overdue_orders(shop.sessions)

    assert (await shop.read(changing))["status"] == "pending"
    assert (await shop.read(other))["status"] == "cancelled"


async def test_overdue_orders_are_cancelled_every_few_seconds_and_not_every_fifth_minute(
    shop: Shop, settings: Settings
) -> None:
    await shop.stock_up("A", stock=10)
    runner = JobRunner(jobs, dsn=dsn_of(settings.database_url), sessions=shop.sessions)
    running = asyncio.create_task(runner.run())
    try:
        # Twice: one turn may fall into the right minute by chance, the next comes a few seconds later.
        for _ in range(2):
            order = await shop.placed(("A", 1))
            await shop.make_overdue(order)
            await shop.wait_until(order, "cancelled", within_seconds=20)
    finally:
        runner.stop()
        await running
    assert await shop.stock("A") == (10, 0)


async def _copy(order: dict[str, object], shop: Shop, *, times: int) -> None:
    """More orders like it; their numbers begin as its does."""
    async with shop.sessions.begin() as session:
        for statement in (
            """INSERT INTO customer_order
               SELECT gen_random_uuid(), number || n, user_id, status, currency, total_cents, refunded_cents, deadline,
                      version, created_at, updated_at
               FROM customer_order, generate_series(1, :times) AS n WHERE id = :id""",
            """INSERT INTO order_item
               SELECT copy.id, sku, position, name, unit_price_cents, quantity
               FROM order_item, customer_order copy
               WHERE order_id = :id AND length(copy.number) > 10 AND :times > 0""",
            """UPDATE product SET reserved = reserved + :times * quantity
               FROM order_item WHERE order_id = :id AND order_item.sku = product.sku""",
        ):
            await session.execute(sa.text(statement), {"id": order["id"], "times": times})

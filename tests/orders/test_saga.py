"""Credit replies of the users service, and the deadline if there is no reply."""

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from services.orders import commands
from services.orders.credit_reply import CreditReply
from services.orders.jobs import BATCH_SIZE, cancel_overdue_orders, order_jobs
from services.orders.settings import Settings
from services.orders.subscribers import users
from shared.connection_urls import dsn_of
from shared.events.contract import Event
from shared.events.users import CreditReserved
from shared.jobs import JobRunner
from shared.messaging.consumer.worker import ConsumerWorker
from shared.telemetry import new_trace, traceparent_of
from tests.harness.builders import received, record_of
from tests.harness.personal_keys import StoredKeys
from tests.harness.rows import Rows
from tests.orders.service import CUSTOMER, OrdersService, credit_refused, credit_reserved


def credit_refused_for(order: dict[str, Any]) -> CreditReply:
    return reply_to(order, "limit_exceeded")


def reply_to(order: dict[str, Any], reason: str | None = None, **trace: str) -> CreditReply:
    """Return the reply about an order's credit, which is reserved without a reason."""
    return CreditReply(
        UUID(order["id"]), UUID(order["user_id"]), order["total_cents"], order["currency"], reason, **trace
    )


async def test_reserved_credit_confirms_the_order(service: OrdersService) -> None:
    await service.add_product("A", stock=10)
    order = await service.place_order(("A", 4))

    await service.apply(credit_reserved(order))

    assert (await service.read_order(order))["status"] == "confirmed"
    assert await service.stock("A") == (10, 4)


async def test_refused_credit_rejects_the_order_and_releases_its_stock(service: OrdersService) -> None:
    await service.add_product("A", stock=10)
    order = await service.place_order(("A", 4))

    await service.apply(credit_refused(order))

    rejected = await service.read_order(order)
    assert rejected["status"] == "rejected"
    assert (rejected["timeline"][-1]["actor"], rejected["timeline"][-1]["reason"]) == ("system", "limit_exceeded")
    assert await service.stock("A") == (10, 0)
    type_, data = (await service.events("orders"))[-1]
    assert (type_, data["reason"]) == ("order.rejected", "limit_exceeded")


async def test_a_late_reply_changes_nothing(service: OrdersService) -> None:
    await service.add_product("A", stock=10)
    order = await service.place_order(("A", 4))
    await service.post_action(order, "cancel", as_=service.customer())
    before = (await service.read_order(order), await service.events("orders"))

    await service.apply(credit_reserved(order), credit_refused(order))

    assert (await service.read_order(order), await service.events("orders")) == before
    assert await service.stock("A") == (10, 0)


async def test_a_repeated_reply_changes_nothing(service: OrdersService) -> None:
    await service.add_product("A", stock=10)
    order = await service.place_order(("A", 4))
    await service.apply(credit_reserved(order), credit_reserved(order), credit_refused(order))
    assert (await service.read_order(order))["status"] == "confirmed"
    assert await service.stock("A") == (10, 4)
    assert [type_ for type_, _ in await service.events("orders")] == ["order.created", "order.confirmed"]


async def test_a_reply_for_an_unknown_order_is_ignored(service: OrdersService) -> None:
    await service.apply(CreditReserved(user_id=CUSTOMER, order_id=uuid4(), amount_cents=1, currency="GBP"))
    assert await service.events("orders") == []


@pytest.mark.parametrize("reply", [credit_reserved, credit_refused])
@pytest.mark.parametrize("difference", [{"user_id": uuid4()}, {"amount_cents": 1}, {"currency": "USD"}])
async def test_a_reply_that_does_not_match_its_order_is_a_dead_letter_and_others_of_its_batch_are_applied(
    service: OrdersService, reply: Callable[[dict[str, Any]], Event], difference: dict[str, Any]
) -> None:
    await service.add_product("A", stock=10)
    mismatched, other = await service.place_order(("A", 4)), await service.place_order(("A", 1), user_id=uuid4())
    events = [reply(mismatched).model_copy(update=difference), credit_reserved(other)]
    worker = ConsumerWorker(name="orders.users", subscription=users, sessions=service.sessions)

    await worker.apply([record_of(received(event, sequence=1)) for event in events])

    assert (await service.read_order(mismatched))["status"] == "pending"
    assert (await service.read_order(other))["status"] == "confirmed"
    assert await Rows(service.sessions).of("SELECT key, reason, error FROM dead_letter") == [
        (
            events[0].key,
            "rule_violated",
            f"credit_reply_mismatched: The order is {mismatched['id']}.",
        )
    ]


async def test_each_decision_continues_the_trace_of_its_reply(service: OrdersService) -> None:
    await service.add_product("A", stock=10)
    confirmed, rejected = await service.place_order(("A", 1)), await service.place_order(("A", 1))
    traces = [new_trace() for _ in range(2)]
    async with service.sessions.begin() as session:
        await commands.decide_orders(
            session,
            [
                reply_to(order, reason, traceparent=traceparent_of(trace), tracestate="a=b")
                for order, reason, trace in zip((confirmed, rejected), (None, "limit_exceeded"), traces, strict=True)
            ],
        )
    query = sa.text(
        "SELECT type, traceparent, tracestate FROM outbox WHERE type IN ('order.confirmed', 'order.rejected')"
        " ORDER BY id"
    )
    async with service.sessions() as session:
        rows = (await session.execute(query)).all()
    assert [(row.type, row.traceparent, row.tracestate) for row in rows] == [
        ("order.confirmed", traceparent_of(traces[0]), "a=b"),
        ("order.rejected", traceparent_of(traces[1]), "a=b"),
    ]


async def test_one_batch_rejects_many_orders(service: OrdersService) -> None:
    await service.add_product("A", stock=10)
    await service.add_product("B", stock=10)
    orders = [await service.place_order(("A", 1), ("B", 2)) for _ in range(4)]

    replies: list[Event] = [credit_refused(order) for order in orders[:3]]
    await service.apply(*replies, credit_reserved(orders[3]))

    assert (await service.stock("A"), await service.stock("B")) == ((10, 1), (10, 2))
    assert [(await service.read_order(order))["status"] for order in orders] == ["rejected"] * 3 + ["confirmed"]


async def test_a_savepoint_that_is_rolled_back_releases_no_stock(service: OrdersService) -> None:
    """Stock changes that were collected before the savepoint are applied."""
    await service.add_product("A", stock=10)
    kept, rejected = await service.place_order(("A", 3)), await service.place_order(("A", 4))
    async with service.sessions.begin() as session:
        await commands.decide_orders(session, [credit_refused_for(rejected)])
        async with session.begin_nested() as savepoint:
            await commands.decide_orders(session, [credit_refused_for(kept)])
            await savepoint.rollback()

    assert (await service.read_order(kept))["status"] == "pending"
    assert (await service.read_order(rejected))["status"] == "rejected"
    assert await service.stock("A") == (10, 3)


async def test_a_transaction_that_is_rolled_back_leaves_no_stock_changes_to_the_next(service: OrdersService) -> None:
    await service.add_product("A", stock=10)
    order = await service.place_order(("A", 4))
    async with service.sessions() as session:
        await commands.decide_orders(session, [credit_refused_for(order)])
        await session.rollback()
        await session.execute(sa.text("SELECT 1"))
        await session.commit()

    assert await service.stock("A") == (10, 4)


async def test_all_orders_past_their_deadline_are_cancelled(service: OrdersService) -> None:
    await service.add_product("A", stock=1000)
    overdue = await service.place_order(("A", 2))
    in_time, confirmed = await service.place_order(("A", 3)), await service.place_confirmed_order(("A", 4))
    await service.copy_order(overdue, times=BATCH_SIZE)
    await service.make_overdue(overdue, confirmed)

    await cancel_overdue_orders(service.sessions)

    cancelled = await service.read_order(overdue)
    assert (cancelled["status"], cancelled["timeline"][-1]["reason"]) == ("cancelled", "deadline")
    assert (await service.read_order(in_time))["status"] == "pending"
    assert (await service.read_order(confirmed))["status"] == "confirmed"
    reasons = [data["reason"] for type_, data in await service.events("orders") if type_ == "order.cancelled"]
    assert reasons == ["deadline"] * (BATCH_SIZE + 1)
    assert await service.stock("A") == (1000, 7)
    assert await service.inconsistent_reservations() == []


async def test_an_overdue_order_that_is_locked_is_skipped(service: OrdersService) -> None:
    await service.add_product("A", stock=10)
    changing, other = await service.place_order(("A", 2)), await service.place_order(("A", 3))
    await service.make_overdue(changing, other)

    async with service.sessions.begin() as session:
        await session.execute(sa.text("SELECT 1 FROM customer_order WHERE id = :id FOR UPDATE"), {"id": changing["id"]})
        await cancel_overdue_orders(service.sessions)

    assert (await service.read_order(changing))["status"] == "pending"
    assert (await service.read_order(other))["status"] == "cancelled"


async def test_the_job_cancels_overdue_orders_every_few_seconds(service: OrdersService, settings: Settings) -> None:
    await service.add_product("A", stock=10)
    jobs = order_jobs(keys=StoredKeys().personal_keys())
    runner = JobRunner(jobs, dsn=dsn_of(settings.database_url), sessions=service.sessions)
    running = asyncio.create_task(runner.run())
    try:
        # Twice: with a wrong schedule, such as every fifth minute, one run may happen in time by chance.
        for _ in range(2):
            order = await service.place_order(("A", 1))
            await service.make_overdue(order)
            await service.wait_until(order, "cancelled", within_seconds=20)
    finally:
        runner.stop()
        await running
    assert await service.stock("A") == (10, 0)

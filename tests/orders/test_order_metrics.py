"""The metrics of orders: when each was decided, and which are pending past their deadline."""

import json

import sqlalchemy as sa
from prometheus_client import REGISTRY

from services.orders.jobs import cancel_overdue_orders
from services.orders.order_metrics import ORDERS
from shared.measurements import Measurements
from tests.orders.service import OrdersService, credit_refused, credit_reserved


def decisions() -> dict[str, float]:
    names = ("confirmed", "rejected", "expired")
    return {name: REGISTRY.get_sample_value("orders_decision_seconds_count", {"outcome": name}) or 0 for name in names}


async def measure(service: OrdersService) -> tuple[float, float]:
    await Measurements([ORDERS], sessions=service.sessions).measure()
    orders, seconds = (REGISTRY.get_sample_value(name) for name in ("orders_overdue", "orders_oldest_overdue_seconds"))
    return orders or 0, seconds or 0


async def test_decisions_and_overdue_orders_are_measured(service: OrdersService) -> None:
    await service.add_product("A", stock=10)
    confirmed, rejected, overdue = [await service.place_order(("A", 1)) for _ in range(3)]
    before = decisions()
    assert await measure(service) == (0, 0)

    await service.make_overdue(overdue)
    found, seconds = await measure(service)
    assert (found, seconds > 0) == (1, True)

    await service.apply(credit_reserved(confirmed))
    await service.apply(credit_refused(rejected))
    # A repeated reply decides nothing.
    await service.apply(credit_reserved(confirmed))
    await cancel_overdue_orders(service.sessions)
    assert {name: count - before[name] for name, count in decisions().items()} == {
        "confirmed": 1,
        "rejected": 1,
        "expired": 1,
    }
    assert await measure(service) == (0, 0)


async def test_measuring_overdue_orders_reads_no_others(service: OrdersService) -> None:
    async with service.sessions() as session:
        await session.execute(sa.text("SET LOCAL enable_seqscan = off"))
        explain = sa.text(f"EXPLAIN (FORMAT JSON) {ORDERS.query}").bindparams(max_counted=10_000)
        plan = json.dumps(await session.scalar(explain))
    assert '"Index Name": "ix_customer_order_deadline_pending", ' in plan
    assert plan.count('"Index Cond": "(deadline < now())"') == 1

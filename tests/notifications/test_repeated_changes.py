"""A restored orders database repeats changes of orders with other events; the customer hears of each change once."""

from shared.database import Sessions
from shared.events.orders import OrderRefunded
from shared.ids import new_id
from tests.harness.rows import Rows
from tests.notifications.events import apply, order_confirmed


async def test_a_change_that_is_repeated_notifies_once(sessions: Sessions) -> None:
    confirmed = order_confirmed(new_id())
    refunds = [
        OrderRefunded(
            **confirmed.model_dump(exclude={"lines"}), amount_cents=10, refunded_cents=refunded_cents, reason=None
        )
        for refunded_cents in (10, 20, 20)
    ]
    await apply(sessions, confirmed, confirmed, *refunds)
    events = await Rows(sessions).of("SELECT event_type FROM notification ORDER BY id")
    assert events == [("order.confirmed",), ("order.refunded",), ("order.refunded",)]
    assert await Rows(sessions).count("delivery") == 6
    assert await Rows(sessions).count("dead_letter") == 0

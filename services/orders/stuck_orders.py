"""Orders that are pending for too long, and what this service alone knows of the reason."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import sqlalchemy as sa
from pydantic import Field

from services.orders import journey_advice as advice
from services.orders.journey_findings import GRACE
from services.orders.models import Order, OrderStatus, OverdueOrder
from shared.http.bodies import ResponseBody
from shared.messaging.dead_letters.queries import BLOCKING
from shared.messaging.dead_letters.reason import DeadLetterReason
from shared.operations.advice import STUCK_ORDERS, Advice
from shared.operations.blocked_keys import advice_on_reason

_OUTBOX = sa.table("outbox", sa.column("topic"), sa.column("key", sa.Text), sa.column("sequence"))
_LETTER = sa.table(
    "dead_letter",
    sa.column("id", sa.BigInteger),
    *(sa.column(name, sa.Text) for name in ("consumer", "topic", "key", "type", "reason", "error")),
)


class StuckOrderView(ResponseBody):
    """An order that is pending for too long."""

    order_id: UUID
    number: str = Field(examples=["O-2K7WQ9X3"])
    status: OrderStatus
    user_id: UUID
    placed_at: datetime
    deadline: datetime
    is_overdue: bool = Field(description="Whether it is past its deadline.")
    cause: Literal["relay_away", "dead_letter", "overdue", "waits_for_credit"] = Field(
        description="`waits_for_credit`: orders has done its part; the journey tells where it is in users."
    )
    reason: str = Field(
        description="The reason, as far as this service knows it.",
        examples=["The events of the order wait in the outbox of orders."],
    )
    advice: Advice


def stuck_orders() -> sa.Select[*tuple[Any, ...]]:
    """Select the columns of `stuck_order_view`, the oldest order first."""
    key = sa.cast(Order.id, sa.Text)
    waits = sa.exists().where(_OUTBOX.c.topic == "orders", _OUTBOX.c.key == key)
    # The first one of the user's key, which blocks the reply for this order if it is not the reply itself.
    letter = (
        sa.select(_LETTER.c.id, _LETTER.c.type, _LETTER.c.reason, _LETTER.c.error)
        .where(
            _LETTER.c.consumer == "orders.users",
            _LETTER.c.topic == "users",
            _LETTER.c.key == sa.cast(Order.user_id, sa.Text),
            sa.text(BLOCKING),
        )
        .order_by(_LETTER.c.id)
        .limit(1)
        .lateral("letter")
    )
    now = sa.func.clock_timestamp()
    columns = (Order.id, Order.number, Order.status, Order.user_id, Order.created_at, Order.deadline)
    return (
        sa.select(*columns, Order.deadline < now, OverdueOrder.error, waits, *letter.c)
        .outerjoin(OverdueOrder, OverdueOrder.order_id == Order.id)
        .outerjoin(letter, sa.true())
        .where(Order.status == OrderStatus.PENDING, Order.created_at < now - GRACE)
        .order_by(Order.id)
    )


def stuck_order_view(*columns: Any) -> StuckOrderView:
    """Return the view of an order by the columns that `stuck_orders` selects."""
    id_, number, status, user_id, placed_at, deadline, is_overdue, overdue_error, waits, *letter = columns
    cause, reason, helps = _cause(id_, is_overdue=is_overdue, error=overdue_error, waits=waits, letter=letter)
    return StuckOrderView(
        order_id=id_,
        number=number,
        status=status,
        user_id=user_id,
        placed_at=placed_at,
        deadline=deadline,
        is_overdue=is_overdue,
        cause=cause,
        reason=reason,
        advice=helps,
    )


def _cause(
    order_id: UUID, *, is_overdue: bool, error: str | None, waits: bool, letter: list[Any]
) -> tuple[Literal["relay_away", "dead_letter", "overdue", "waits_for_credit"], str, Advice]:
    letter_id, type_, letter_reason, letter_error = letter
    if waits:
        return "relay_away", "The events of the order wait in the outbox of orders.", advice.relay_away("orders")
    if letter_id is not None:
        reason = f"The dead letter {letter_id} of orders.users blocks its customer's events ({type_}: {letter_error})."
        return "dead_letter", reason, advice_on_reason("orders", letter_id, DeadLetterReason(letter_reason))
    if is_overdue:
        why = f"could not be cancelled: {error}" if error else "was not cancelled yet"
        return "overdue", f"It is past its deadline and {why}.", advice.cancel_overdue(order_id)
    helps = Advice(
        text="Read its journey, which tells where it is.",
        command=f"python -m services.orders journey {order_id}",
        route=f"GET /v1/orders/{order_id}/journey",
        runbook=STUCK_ORDERS,
    )
    return "waits_for_credit", "Its order.created was sent, and users has not replied.", helps

"""Snapshots of orders: the credit of an order is made to agree with the order's state, whatever happened before."""

from typing import Any, NamedTuple
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from services.users.credit.batch import Credit
from services.users.credit.commands import release_credit, reserve_credit
from services.users.models.credit import CreditAccount, CreditReservation, ReservationStatus
from shared.errors import Conflict
from shared.events.orders import OrderStatus
from shared.events.users import CreditRefused, CreditReleased, CreditReserved
from shared.messaging.outbox.outbox import record

logger = structlog.get_logger(__name__)


class CreditUnavailable(Conflict):
    """The user has not the credit that the order holds."""

    code = "credit_unavailable"


class OrderState(NamedTuple):
    """The state of an order, as orders publishes it in a snapshot."""

    order_id: UUID
    user_id: UUID
    status: OrderStatus
    total_cents: int
    refunded_cents: int
    currency: str


class _Held(NamedTuple):
    """The credit that an order holds."""

    status: ReservationStatus
    amount_cents: int
    refunded_cents: int = 0


def apply_snapshot(session: AsyncSession, credit: Credit, order: OrderState) -> None:
    """Make an order's credit agree with its state, as orders publishes it. Repeatable.

    Open orders hold reserved credit, shipped ones used credit, all others none. A pending order waits for a reply, so
    it gets one, again if it had one before. Raises: AmountInvalid, CreditUnavailable if the limit does not cover a
    confirmed or shipped order; then its event is a dead letter until the limit is raised.
    """
    reservation = credit.reservations.get(order.order_id)
    if reservation is not None and reservation.user_id != order.user_id:
        logger.warning("order_snapshot_ignored", order_id=str(order.order_id), reason="the reservation of another user")
        return
    held = _held_by(order)
    if held is None:
        _release(session, credit, order, reservation)
    elif order.status != "pending":
        _set(credit, order, reservation, held)
    elif reservation is None:
        reserve_credit(
            session,
            credit,
            order_id=order.order_id,
            user_id=order.user_id,
            amount_cents=order.total_cents,
            currency=order.currency,
        )
    else:
        _reply_again(session, credit, order, reservation, held)


def _held_by(order: OrderState) -> _Held | None:
    match order.status:
        case "pending" | "confirmed":
            return _Held("reserved", order.total_cents)
        case "shipped" | "delivered" | "refunded":
            return _Held("used", order.total_cents, order.refunded_cents)
        case _:
            return None


def _release(session: AsyncSession, credit: Credit, order: OrderState, reservation: CreditReservation | None) -> None:
    if reservation is None or reservation.status != "used":
        release_credit(session, credit, order_id=order.order_id, user_id=order.user_id, currency=order.currency)
        return
    account = credit.accounts.get(order.user_id)
    if account is None:
        return
    release_used(session, account, reservation)


def release_used(session: AsyncSession, account: CreditAccount, reservation: CreditReservation) -> None:
    """Release the used credit of an order that was not shipped after all, and record the event."""
    released_cents = reservation.amount_cents - reservation.refunded_cents
    account.refund(released_cents)
    reservation.status, reservation.refunded_cents = "released", 0
    record(
        session,
        CreditReleased(
            user_id=reservation.user_id,
            order_id=reservation.order_id,
            amount_cents=released_cents,
            currency=reservation.currency,
        ),
    )


def _reply_again(
    session: AsyncSession, credit: Credit, order: OrderState, reservation: CreditReservation, held: _Held
) -> None:
    reply: dict[str, Any] = {
        "user_id": order.user_id,
        "order_id": order.order_id,
        "amount_cents": order.total_cents,
        "currency": order.currency,
    }
    reason = reservation.reason
    if reason is None:
        try:
            _set(credit, order, reservation, held)
        except CreditUnavailable:
            reason = "limit_exceeded"
    record(session, CreditRefused(**reply, reason=reason) if reason else CreditReserved(**reply))


def _set(credit: Credit, order: OrderState, reservation: CreditReservation | None, held: _Held) -> None:
    """Set what the order holds. Raises: CreditUnavailable."""
    account = credit.accounts.get(order.user_id)
    if account is None or account.currency != order.currency:
        raise CreditUnavailable(f"The order is {order.order_id}.")
    before = _Share.of(reservation) if reservation else _Share(0, 0)
    after = _Share.held(*held)
    reserved_cents = account.reserved_cents + after.reserved_cents - before.reserved_cents
    used_cents = account.used_cents + after.used_cents - before.used_cents
    if reserved_cents + used_cents > account.limit_cents:
        raise CreditUnavailable(f"The order is {order.order_id}.")
    account.reserved_cents, account.used_cents = reserved_cents, used_cents
    if reservation is None:
        reservation = CreditReservation(order_id=order.order_id, user_id=order.user_id, currency=order.currency)
        credit.add(reservation)
    reservation.status, reservation.reason = held.status, None
    reservation.amount_cents, reservation.refunded_cents = held.amount_cents, held.refunded_cents


class _Share(NamedTuple):
    """The cents that one order has of its account."""

    reserved_cents: int
    used_cents: int

    @classmethod
    def of(cls, reservation: CreditReservation) -> "_Share":
        return cls.held(reservation.status, reservation.amount_cents, reservation.refunded_cents)

    @classmethod
    def held(cls, status: ReservationStatus, amount_cents: int, refunded_cents: int) -> "_Share":
        if status == "reserved":
            return cls(amount_cents, 0)
        return cls(0, amount_cents - refunded_cents) if status == "used" else cls(0, 0)

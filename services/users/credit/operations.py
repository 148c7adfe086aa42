"""Operators' work on credit: release what an unknown order holds, recompute an account."""

from dataclasses import dataclass
from uuid import UUID

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from services.users.accounts.queries import UserNotFound
from services.users.credit.batch import lock_credit, write_credit
from services.users.credit.commands import change_limit, release_credit
from services.users.credit.ledger import entry_of
from services.users.credit.queries import ledger_of
from services.users.credit.snapshots import release_used
from services.users.models.credit import CreditAccount, CreditReservation, ReservationStatus
from shared.database import Sessions
from shared.errors import Conflict, NotFound

logger = structlog.get_logger(__name__)

_SUMS = sa.select(
    sa.func.coalesce(
        sa.func.sum(CreditReservation.amount_cents).filter(CreditReservation.status == "reserved"), 0
    ).label("reserved_cents"),
    sa.func.coalesce(
        sa.func.sum(CreditReservation.amount_cents - CreditReservation.refunded_cents).filter(
            CreditReservation.status == "used"
        ),
        0,
    ).label("used_cents"),
)


class ReservationNotFound(NotFound):
    """There is no reservation of this order."""

    code = "reservation_not_found"


class LimitBelowOrders(Conflict):
    """The limit is below what the orders hold; use --raise-limit to raise it to that."""

    code = "limit_below_orders"


@dataclass(frozen=True)
class Release:
    """An order's credit that was released, or had been already."""

    order_id: UUID
    user_id: UUID
    status_before: ReservationStatus
    released_cents: int


@dataclass(frozen=True)
class Recomputation:
    """A user's credit in cents, before and after: reserved, used, and the limit."""

    user_id: UUID
    before: tuple[int, int, int]
    after: tuple[int, int, int]


async def release(sessions: Sessions, order_id: UUID, *, actor: str, note: str) -> Release:
    """Release the credit that an order holds, and record `user.credit_released`. Repeatable.

    For an order that the orders service does not know: it will never say what becomes of it. The credit of a known one
    is set again by its next snapshot. Raises: ReservationNotFound.
    """
    async with sessions.begin() as session:
        user_id = await session.scalar(
            sa.select(CreditReservation.user_id).where(CreditReservation.order_id == order_id)
        )
        if user_id is None:
            raise ReservationNotFound(f"There is no reservation of the order {order_id}.")
        released = await _release(session, order_id, user_id=user_id, actor=actor, reason=note)
    logger.warning(
        "credit_released",
        order_id=str(order_id),
        user_id=str(user_id),
        released_cents=released.released_cents,
        status_before=released.status_before,
        actor=actor,
        note=note,
    )
    return released


async def recompute(sessions: Sessions, user_id: UUID, *, raise_limit: bool, actor: str, note: str) -> Recomputation:
    """Set a credit account to the sums of its reservations, and make its ledger add up to it. Repeatable.

    Raises: UserNotFound, LimitBelowOrders unless the limit is raised too.
    """
    async with sessions.begin() as session:
        account = await session.scalar(
            sa.select(CreditAccount).where(CreditAccount.user_id == user_id).with_for_update()
        )
        if account is None:
            raise UserNotFound
        before = (*account.balances,)
        # A statement of its own, whose snapshot is not older than the lock.
        sums = (await session.execute(_SUMS.where(CreditReservation.user_id == user_id))).one()
        account.reserved_cents, account.used_cents = int(sums.reserved_cents), int(sums.used_cents)
        if account.taken_cents > account.limit_cents:
            if not raise_limit:
                raise LimitBelowOrders(extra={"limit_cents": account.limit_cents, "orders_cents": account.taken_cents})
            await change_limit(session, account, limit_cents=account.taken_cents, actor=actor)
        after = (*account.balances,)
        ledger = await ledger_of(session, user_id)
        if not ledger.sums == ledger.newest == after:
            session.add(entry_of(account, before=ledger.sums, kind="corrected", actor=actor, reason=note))
    logger.warning("credit_recomputed", user_id=str(user_id), before=before, after=after, actor=actor, note=note)
    return Recomputation(user_id, before, after)


async def _release(session: AsyncSession, order_id: UUID, *, user_id: UUID, actor: str, reason: str) -> Release:
    credit = await lock_credit(session, user_ids={user_id}, order_ids={order_id})
    account, reservation = credit.of_order(order_id, user_id=user_id)
    if account is None or reservation is None:
        raise ReservationNotFound(f"The order {order_id} holds no credit of an account.")
    status, released_cents = reservation.status, 0
    with credit.entering("released", order_id=order_id, user_id=user_id, actor=actor, reason=reason):
        if status == "used":
            released_cents = reservation.amount_cents - reservation.refunded_cents
            release_used(session, account, reservation)
        elif status == "reserved":
            released_cents = reservation.amount_cents
            release_credit(session, credit, order_id=order_id, user_id=user_id, currency=reservation.currency)
    await write_credit(session, credit)
    return Release(order_id, user_id, status, released_cents)

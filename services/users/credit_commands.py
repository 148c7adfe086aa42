"""Commands of credit. Each locks the user's credit account first, so that no two of them reserve the same credit."""

from datetime import UTC, datetime
from uuid import UUID

import sqlalchemy as sa
import structlog
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.users.models import MAX_CENTS, CreditAccount, CreditReservation, UserAccount
from services.users.queries import UserNotFound
from shared.errors import Conflict, Problem
from shared.events.users import CreditRefused, CreditRefusedReason, CreditReleased, CreditReserved
from shared.messaging.outbox.outbox import record

logger = structlog.get_logger(__name__)


class AmountInvalid(Problem):
    """The amount is out of range."""

    status = 422
    code = "amount_invalid"


class LimitBelowUse(Conflict):
    """The limit is below what is reserved and used already."""

    code = "limit_below_use"


async def set_credit_limit(session: AsyncSession, *, user_id: UUID, limit_cents: int) -> CreditAccount:
    """Set the limit of a user's credit. Raises: UserNotFound, LimitBelowUse."""
    account = await _lock_account(session, user_id)
    if account is None:
        raise UserNotFound
    if limit_cents < account.taken_cents:
        raise LimitBelowUse(extra={"reserved_cents": account.reserved_cents, "used_cents": account.used_cents})
    account.limit_cents = limit_cents
    return account


async def reserve_credit(
    session: AsyncSession, *, order_id: UUID, user_id: UUID, amount_cents: int, currency: str
) -> None:
    """Reserve or refuse the credit for an order, and record the matching event.

    An order that has a reservation already, or was cancelled before, gets no second reply. Raises: AmountInvalid.
    """
    if not 0 <= amount_cents <= MAX_CENTS:
        raise AmountInvalid
    account = await _lock_account(session, user_id)
    reason = await _reason_to_refuse(session, account, user_id=user_id, amount_cents=amount_cents, currency=currency)
    is_new = await _insert_reservation(
        session,
        order_id=order_id,
        user_id=user_id,
        amount_cents=amount_cents,
        currency=currency,
        status="refused" if reason else "reserved",
        reason=reason,
    )
    if not is_new:
        return
    if account is None or reason is not None:
        record(
            session,
            CreditRefused(
                user_id=user_id,
                order_id=order_id,
                amount_cents=amount_cents,
                currency=currency,
                reason=reason or "user_unknown",
            ),
        )
        return
    account.reserve(amount_cents)
    record(
        session,
        CreditReserved(user_id=user_id, order_id=order_id, amount_cents=amount_cents, currency=currency),
    )


async def release_credit(session: AsyncSession, *, order_id: UUID, user_id: UUID, currency: str) -> None:
    """Release the credit reserved for a cancelled or rejected order. Does nothing if none is reserved."""
    account, reservation = await _lock(session, order_id=order_id, user_id=user_id)
    if reservation is None:
        # After a replay the cancellation can arrive before the order. This row keeps the order from reserving credit.
        await _insert_reservation(
            session, order_id=order_id, user_id=user_id, amount_cents=0, currency=currency, status="released"
        )
        return
    if account is None or reservation.status != "reserved":
        return
    account.release(reservation.amount_cents)
    reservation.status = "released"
    reservation.updated_at = datetime.now(UTC)
    record(
        session,
        CreditReleased(
            user_id=user_id, order_id=order_id, amount_cents=reservation.amount_cents, currency=reservation.currency
        ),
    )


async def use_credit(session: AsyncSession, *, order_id: UUID, user_id: UUID) -> None:
    """Turn the credit reserved for an order into used credit, as the order was shipped."""
    account, reservation = await _lock(session, order_id=order_id, user_id=user_id)
    if account is None or reservation is None or reservation.status not in ("reserved", "used"):
        logger.warning("order_shipment_ignored", order_id=str(order_id), status=reservation and reservation.status)
        return
    if reservation.status == "used":
        return
    account.use(reservation.amount_cents)
    reservation.status = "used"
    reservation.updated_at = datetime.now(UTC)


async def refund_credit(session: AsyncSession, *, order_id: UUID, user_id: UUID, refunded_cents: int) -> None:
    """Return used credit, never more than was used. `refunded_cents` is the sum of the order's refunds so far."""
    account, reservation = await _lock(session, order_id=order_id, user_id=user_id)
    if account is None or reservation is None or reservation.status != "used":
        logger.warning("order_refund_ignored", order_id=str(order_id), status=reservation and reservation.status)
        return
    returned_cents = min(refunded_cents, reservation.amount_cents) - reservation.refunded_cents
    if returned_cents <= 0:
        return
    account.refund(returned_cents)
    reservation.refunded_cents += returned_cents
    reservation.updated_at = datetime.now(UTC)


async def _lock_account(session: AsyncSession, user_id: UUID) -> CreditAccount | None:
    return await session.scalar(
        sa.select(CreditAccount)
        .where(CreditAccount.user_id == user_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )


async def _lock(
    session: AsyncSession, *, order_id: UUID, user_id: UUID
) -> tuple[CreditAccount | None, CreditReservation | None]:
    """Lock the account, and return it with the order's reservation."""
    account = await _lock_account(session, user_id)
    reservation = await session.scalar(
        sa.select(CreditReservation).where(CreditReservation.order_id == order_id, CreditReservation.user_id == user_id)
    )
    return account, reservation


async def _reason_to_refuse(
    session: AsyncSession, account: CreditAccount | None, *, user_id: UUID, amount_cents: int, currency: str
) -> CreditRefusedReason | None:
    if account is None:
        return "user_unknown"
    if await session.scalar(sa.select(UserAccount.status).where(UserAccount.id == user_id)) != "active":
        return "user_inactive"
    return account.reason_to_refuse(amount_cents, currency=currency)


async def _insert_reservation(session: AsyncSession, **values: object) -> bool:
    """Insert the order's reservation, and return whether the order had none yet."""
    inserted = insert(CreditReservation).values(**values).on_conflict_do_nothing().returning(CreditReservation.order_id)
    return await session.scalar(inserted) is not None

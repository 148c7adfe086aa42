"""Changes of credit. Each locks the user's credit account first, so that no two of them can over-reserve."""

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

log = structlog.get_logger(__name__)


class AmountInvalid(Problem):
    """The amount can be no order's total."""

    status = 422
    code = "amount_invalid"


class LimitBelowUse(Conflict):
    """The limit would be below what is reserved and used."""

    code = "limit_below_use"


async def set_credit_limit(session: AsyncSession, *, user_id: UUID, limit_cents: int) -> CreditAccount:
    """Raises: UserNotFound, LimitBelowUse."""
    account = await _locked_account(session, user_id)
    if account is None:
        raise UserNotFound
    if limit_cents < account.taken_cents:
        raise LimitBelowUse(extra={"reserved_cents": account.reserved_cents, "used_cents": account.used_cents})
    account.limit_cents = limit_cents
    return account


async def reserve_credit(
    session: AsyncSession, *, order_id: UUID, user_id: UUID, amount_cents: int, currency: str
) -> None:
    """Answer an order: set its total aside, or say why not. One that was answered or called off gets no second answer.

    Raises: AmountInvalid.
    """
    if not 0 <= amount_cents <= MAX_CENTS:
        raise AmountInvalid
    account = await _locked_account(session, user_id)
    problem = await _problem_of(session, account, user_id=user_id, amount_cents=amount_cents, currency=currency)
    is_new = await _add_reservation(
        session,
        order_id=order_id,
        user_id=user_id,
        amount_cents=amount_cents,
        currency=currency,
        status="refused" if problem else "reserved",
        reason=problem,
    )
    if not is_new:
        return
    if account is None or problem is not None:
        record(
            session,
            CreditRefused(
                user_id=user_id,
                order_id=order_id,
                amount_cents=amount_cents,
                currency=currency,
                reason=problem or "user_unknown",
            ),
        )
        return
    account.reserve(amount_cents)
    record(
        session,
        CreditReserved(user_id=user_id, order_id=order_id, amount_cents=amount_cents, currency=currency),
    )


async def release_credit(session: AsyncSession, *, order_id: UUID, user_id: UUID, currency: str) -> None:
    """Give back what is reserved for an order that was called off; anything else stays as it is."""
    account, reservation = await _locked(session, order_id=order_id, user_id=user_id)
    if reservation is None:
        # After a replay the cancellation can be the first we hear of an order: what created it must reserve nothing.
        await _add_reservation(
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
    """What was reserved for an order is owed from now on: the goods have left."""
    account, reservation = await _locked(session, order_id=order_id, user_id=user_id)
    if account is None or reservation is None or reservation.status not in ("reserved", "used"):
        log.warning("credit_not_reserved", order_id=str(order_id), status=reservation and reservation.status)
        return
    if reservation.status == "used":
        return
    account.use(reservation.amount_cents)
    reservation.status = "used"
    reservation.updated_at = datetime.now(UTC)


async def refund_credit(session: AsyncSession, *, order_id: UUID, user_id: UUID, refunded_cents: int) -> None:
    """Give back used credit. `refunded_cents` is the order's total of refunds so far, never more than was used."""
    account, reservation = await _locked(session, order_id=order_id, user_id=user_id)
    if account is None or reservation is None or reservation.status != "used":
        log.warning("credit_not_used", order_id=str(order_id), status=reservation and reservation.status)
        return
    given_back_cents = min(refunded_cents, reservation.amount_cents) - reservation.refunded_cents
    if given_back_cents <= 0:
        return
    account.give_back(given_back_cents)
    reservation.refunded_cents += given_back_cents
    reservation.updated_at = datetime.now(UTC)


async def _locked_account(session: AsyncSession, user_id: UUID) -> CreditAccount | None:
    return await session.scalar(
        sa.select(CreditAccount)
        .where(CreditAccount.user_id == user_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )


async def _locked(
    session: AsyncSession, *, order_id: UUID, user_id: UUID
) -> tuple[CreditAccount | None, CreditReservation | None]:
    account = await _locked_account(session, user_id)
    reservation = await session.scalar(
        sa.select(CreditReservation).where(CreditReservation.order_id == order_id, CreditReservation.user_id == user_id)
    )
    return account, reservation


async def _problem_of(
    session: AsyncSession, account: CreditAccount | None, *, user_id: UUID, amount_cents: int, currency: str
) -> CreditRefusedReason | None:
    if account is None:
        return "user_unknown"
    if await session.scalar(sa.select(UserAccount.status).where(UserAccount.id == user_id)) != "active":
        return "user_inactive"
    return account.reason_to_refuse(amount_cents, currency=currency)


async def _add_reservation(session: AsyncSession, **values: object) -> bool:
    """Whether the order had none yet."""
    added = insert(CreditReservation).values(**values).on_conflict_do_nothing().returning(CreditReservation.order_id)
    return await session.scalar(added) is not None

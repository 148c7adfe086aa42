"""Commands of credit. Each needs the credit accounts locked, so that no two of them reserve the same credit."""

from uuid import UUID

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from services.users.accounts.queries import UserNotFound
from services.users.credit.batch import Credit
from services.users.credit.ledger import NOTHING, entry_of
from services.users.models.credit import CreditAccount, CreditReservation
from services.users.security_record.commands import Origin, append
from shared.amounts import MAX_AMOUNT_CENTS
from shared.errors import Conflict, Problem
from shared.events.users import (
    CreditRefused,
    CreditRefusedReason,
    CreditReleased,
    CreditReserved,
    UserCreditLimitChanged,
)
from shared.messaging.outbox.outbox import record

logger = structlog.get_logger(__name__)


class AmountInvalid(Problem):
    """The amount is out of range."""

    status = 422
    code = "amount_invalid"


class LimitBelowUse(Conflict):
    """The limit is below what is reserved and used already."""

    code = "limit_below_use"


async def open_credit_account(session: AsyncSession, *, user_id: UUID, limit_cents: int, currency: str) -> None:
    """Create a new user's credit account, and the first entry of its ledger."""
    account = CreditAccount(user_id=user_id, limit_cents=limit_cents, reserved_cents=0, used_cents=0, currency=currency)
    session.add(account)
    await session.flush()  # the entry refers to the account
    session.add(entry_of(account, before=NOTHING, kind="opened"))


async def set_credit_limit(
    session: AsyncSession, *, user_id: UUID, limit_cents: int, actor: UUID | str, origin: Origin | None = None
) -> CreditAccount:
    """Lock a user's credit account, and set its limit. The same limit again changes nothing, and records no event.

    Raises: UserNotFound, LimitBelowUse.
    """
    account = await session.scalar(
        sa.select(CreditAccount)
        .where(CreditAccount.user_id == user_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if account is None:
        raise UserNotFound
    if limit_cents < account.taken_cents:
        raise LimitBelowUse(extra={"reserved_cents": account.reserved_cents, "used_cents": account.used_cents})
    if limit_cents != account.limit_cents:
        before = account.balances
        await change_limit(session, account, limit_cents=limit_cents, actor=actor, origin=origin)
        session.add(entry_of(account, before=before, kind="limit_changed", actor=str(actor)))
    return account


async def change_limit(
    session: AsyncSession,
    account: CreditAccount,
    *,
    limit_cents: int,
    actor: UUID | str,
    origin: Origin | None = None,
) -> None:
    """Change the limit of a locked account, and record `user.credit_limit_changed`.

    The caller adds the entry of the ledger, because it knows what else it changes.
    """
    previous_limit_cents, account.limit_cents = account.limit_cents, limit_cents
    record(
        session,
        UserCreditLimitChanged(
            user_id=account.user_id,
            limit_cents=limit_cents,
            previous_limit_cents=previous_limit_cents,
            currency=account.currency,
        ),
    )
    await append(
        session,
        "credit_limit_changed",
        user_id=account.user_id,
        actor=actor,
        origin=origin,
        details={
            "limit_cents": limit_cents,
            "previous_limit_cents": previous_limit_cents,
            "currency": account.currency,
        },
    )


def reserve_credit(
    session: AsyncSession, credit: Credit, *, order_id: UUID, user_id: UUID, amount_cents: int, currency: str
) -> None:
    """Reserve or refuse the credit for an order, and record the matching event.

    An order that has a reservation already, or was cancelled before, gets no second reply. Raises: AmountInvalid.
    """
    if not 0 <= amount_cents <= MAX_AMOUNT_CENTS:
        raise AmountInvalid
    if order_id in credit.reservations:
        return
    account = credit.accounts.get(user_id)
    reason = _reason_to_refuse(credit, account, amount_cents=amount_cents, currency=currency)
    credit.add(
        CreditReservation(
            order_id=order_id,
            user_id=user_id,
            amount_cents=amount_cents,
            refunded_cents=0,
            currency=currency,
            status="refused" if reason else "reserved",
            reason=reason,
        )
    )
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
    record(session, CreditReserved(user_id=user_id, order_id=order_id, amount_cents=amount_cents, currency=currency))


def release_credit(session: AsyncSession, credit: Credit, *, order_id: UUID, user_id: UUID, currency: str) -> None:
    """Release the credit reserved for a cancelled or rejected order. Does nothing if none is reserved."""
    if order_id not in credit.reservations:
        # After a replay the cancellation can arrive before the order. This row keeps the order from reserving credit.
        credit.add(
            CreditReservation(
                order_id=order_id,
                user_id=user_id,
                amount_cents=0,
                refunded_cents=0,
                currency=currency,
                status="released",
            )
        )
        return
    account, reservation = credit.of_order(order_id, user_id=user_id)
    if account is None or reservation is None or reservation.status != "reserved":
        return
    account.release(reservation.amount_cents)
    reservation.status = "released"
    record(
        session,
        CreditReleased(
            user_id=user_id, order_id=order_id, amount_cents=reservation.amount_cents, currency=reservation.currency
        ),
    )


def use_credit(credit: Credit, *, order_id: UUID, user_id: UUID) -> None:
    """Turn the credit reserved for an order into used credit, as the order was shipped."""
    account, reservation = credit.of_order(order_id, user_id=user_id)
    if account is None or reservation is None or reservation.status not in ("reserved", "used"):
        logger.warning("order_shipment_ignored", order_id=str(order_id), status=reservation and reservation.status)
        return
    if reservation.status == "used":
        return
    account.use(reservation.amount_cents)
    reservation.status = "used"


def refund_credit(credit: Credit, *, order_id: UUID, user_id: UUID, refunded_cents: int) -> None:
    """Return used credit, never more than was used. `refunded_cents` is the sum of the order's refunds so far."""
    account, reservation = credit.of_order(order_id, user_id=user_id)
    if account is None or reservation is None or reservation.status != "used":
        logger.warning("order_refund_ignored", order_id=str(order_id), status=reservation and reservation.status)
        return
    returned_cents = min(refunded_cents, reservation.amount_cents) - reservation.refunded_cents
    if returned_cents <= 0:
        return
    account.refund(returned_cents)
    reservation.refunded_cents += returned_cents


def _reason_to_refuse(
    credit: Credit, account: CreditAccount | None, *, amount_cents: int, currency: str
) -> CreditRefusedReason | None:
    if account is None:
        return "user_unknown"
    if account.user_id not in credit.active_user_ids:
        return "user_inactive"
    return account.reason_to_refuse(amount_cents, currency=currency)

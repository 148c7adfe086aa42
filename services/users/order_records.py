"""The entries of an order's journey that this service knows: the changes of its customer's credit."""

from typing import cast

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from services.users.models.credit import CreditEntry, CreditReservation
from shared.operations.actions import ActionSource
from shared.operations.journey_entries import AnyEntry, CreditChange, CreditDetails
from shared.operations.journey_entries import CreditEntry as JourneyCreditEntry
from shared.operations.journeys import MAX_ENTRIES, OwnRecords, Subject

SERVICE = "users"
_TITLES: dict[CreditChange, str] = {
    "reserved": "Credit was reserved for the order",
    "refused": "Credit was refused",
    "released": "The reserved credit was released",
    "used": "The reserved credit became used credit",
    "refunded": "Used credit was given back",
    "corrected": "The credit was made to agree with the order",
}

CREDIT_ACTIONS = ActionSource(
    "credit",
    sa.type_coerce(CreditEntry.created_at, sa.DateTime(timezone=True)),
    sa.type_coerce(CreditEntry.id, sa.BigInteger),
    (
        sa.func.coalesce(sa.cast(CreditEntry.order_id, sa.Text), sa.cast(CreditEntry.user_id, sa.Text)),
        CreditEntry.kind.expression,
        CreditEntry.actor.expression,
        sa.null(),
        CreditEntry.reason.expression,
    ),
    condition=CreditEntry.actor.is_not(None),
)
"""The record of what admins and operators changed of credit by hand."""
ACTION_SOURCES = (CREDIT_ACTIONS,)


async def records_of_order(session: AsyncSession, subject: Subject) -> OwnRecords:
    """Return the changes of credit by an order, or that its credit was refused."""
    reservation = await session.get(CreditReservation, subject.order_id)
    if reservation is None:
        return OwnRecords()
    entries = await session.scalars(
        sa.select(CreditEntry)
        .where(CreditEntry.order_id == subject.order_id)
        .order_by(CreditEntry.id)
        .limit(MAX_ENTRIES)
    )
    found: list[AnyEntry] = [_change(entry, reservation.currency) for entry in entries]
    if reservation.status == "refused":
        found.append(_refused_credit(reservation))
    return OwnRecords(found)


def _change(entry: CreditEntry, currency: str) -> JourneyCreditEntry:
    change = cast("CreditChange", entry.kind)  # an order's entries have no other kinds
    by_hand = f" by {entry.actor}" if entry.actor else ""
    return JourneyCreditEntry(
        kind="credit",
        time=entry.created_at,
        service=SERVICE,
        title=_TITLES[change] + by_hand,
        trace_id=None,
        event_id=None,
        details=CreditDetails(
            change=change,
            amount_cents=abs(entry.reserved_delta_cents) or abs(entry.used_delta_cents),
            currency=currency,
            reason=entry.reason,
            actor=entry.actor,
            reserved_cents=entry.reserved_cents,
            used_cents=entry.used_cents,
            limit_cents=entry.limit_cents,
        ),
    )


def _refused_credit(reservation: CreditReservation) -> JourneyCreditEntry:
    return JourneyCreditEntry(
        kind="credit",
        time=reservation.created_at,
        service=SERVICE,
        title=f"{_TITLES['refused']}: {reservation.reason}",
        trace_id=None,
        event_id=None,
        details=CreditDetails(
            change="refused",
            amount_cents=reservation.amount_cents,
            currency=reservation.currency,
            reason=reservation.reason,
            actor=None,
            reserved_cents=None,
            used_cents=None,
            limit_cents=None,
        ),
    )

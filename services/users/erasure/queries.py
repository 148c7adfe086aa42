"""Queries of erasures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from services.users.models.erasure import Erasure, ErasureAcknowledgement
from shared.errors import NotFound

EXPECTED_SERVICES = ("orders", "notifications")
"""The services that erase a user's personal data and acknowledge it."""

ErasureStatus = Literal["pending", "completed"]


class ErasureNotFound(NotFound):
    """There is no such erasure."""

    code = "erasure_not_found"


@dataclass(frozen=True)
class Receipt:
    """An erasure, and when each service acknowledged it: None if it has not."""

    erasure: Erasure
    acknowledged_at: Mapping[str, datetime | None]

    @property
    def status(self) -> ErasureStatus:
        """`completed` once all services and this one have erased the data."""
        return "pending" if self.erasure.completed_at is None else "completed"

    @property
    def waits_for(self) -> list[str]:
        """The services that have not acknowledged it."""
        return [service for service, at in self.acknowledged_at.items() if at is None]


def erasures_oldest_first(status: ErasureStatus | None) -> sa.Select[Erasure]:
    """Select erasures, oldest first: those that are stuck come first among the pending ones."""
    query = sa.select(Erasure).order_by(Erasure.requested_at, Erasure.id)
    if status is None:
        return query
    # The index's condition as it is: PostgreSQL would not use it for another one.
    return query.where(Erasure.completed_at.is_(None) if status == "pending" else Erasure.completed_at.is_not(None))


async def receipt_of(session: AsyncSession, erasure_id: UUID) -> Receipt:
    """Return the receipt of an erasure. Raises: ErasureNotFound."""
    erasure = await session.get(Erasure, erasure_id)
    if erasure is None:
        raise ErasureNotFound
    return (await with_acknowledgements(session, [erasure]))[0]


async def receipt_of_user(session: AsyncSession, user_id: UUID) -> Receipt | None:
    """Return the receipt of a user's erasure, if there is one."""
    erasure = await session.scalar(sa.select(Erasure).where(Erasure.user_id == user_id))
    return (await with_acknowledgements(session, [erasure]))[0] if erasure else None


async def with_acknowledgements(session: AsyncSession, erasures: Sequence[Erasure]) -> list[Receipt]:
    """Return the receipts of erasures, in their order."""
    rows = await session.execute(
        sa.select(
            ErasureAcknowledgement.erasure_id, ErasureAcknowledgement.service, ErasureAcknowledgement.acknowledged_at
        ).where(ErasureAcknowledgement.erasure_id.in_([erasure.id for erasure in erasures]))
    )
    at = {(erasure_id, service): acknowledged_at for erasure_id, service, acknowledged_at in rows}
    return [
        Receipt(erasure, {service: at.get((erasure.id, service)) for service in EXPECTED_SERVICES})
        for erasure in erasures
    ]

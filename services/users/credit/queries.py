"""Queries of credit."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from services.users.accounts.queries import UserNotFound
from services.users.models.credit import CreditAccount


async def credit_of(session: AsyncSession, user_id: UUID) -> CreditAccount:
    """Return a user's credit account. Raises: UserNotFound."""
    account = await session.get(CreditAccount, user_id)
    if account is None:
        raise UserNotFound
    return account

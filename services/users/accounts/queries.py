"""Queries of accounts."""

from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from services.users.models.accounts import UserAccount
from shared.errors import NotFound


class UserNotFound(NotFound):
    """There is no such user."""

    code = "user_not_found"


async def account_of(session: AsyncSession, user_id: UUID) -> UserAccount:
    """Return an account. Raises: UserNotFound."""
    account = await session.get(UserAccount, user_id)
    if account is None:
        raise UserNotFound
    return account


async def account_with_email(session: AsyncSession, email: str) -> UserAccount | None:
    """Return the account with this address, compared without case."""
    has_email = sa.func.lower(UserAccount.email) == sa.func.lower(email)
    return await session.scalar(sa.select(UserAccount).where(has_email))

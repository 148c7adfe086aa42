"""Queries of recovery."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from services.users.accounts.queries import lock_account
from services.users.models.accounts import UserAccount
from services.users.sessions.commands import AccountInactive


async def lock_active_account(session: AsyncSession, user_id: UUID) -> UserAccount:
    """Lock an active account and return it. Raises: UserNotFound, AccountInactive."""
    account = await lock_account(session, user_id)
    if account.status != "active":
        raise AccountInactive
    return account

"""Queries of accounts."""

from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from services.users.models.accounts import UserAccount
from shared.errors import Conflict, NotFound


class UserNotFound(NotFound):
    """There is no such user."""

    code = "user_not_found"


class AccountErased(Conflict):
    """The account is being erased, or was."""

    code = "account_erased"


async def account_of(session: AsyncSession, user_id: UUID) -> UserAccount:
    """Return an account. Raises: UserNotFound."""
    account = await session.get(UserAccount, user_id)
    if account is None:
        raise UserNotFound
    return account


async def lock_account(session: AsyncSession, user_id: UUID) -> UserAccount:
    """Lock an account, and return it as it is now. Raises: UserNotFound."""
    account = await session.get(UserAccount, user_id, with_for_update=True, populate_existing=True)
    if account is None:
        raise UserNotFound
    return account


def refuse_erased(account: UserAccount) -> None:
    """Check that an account may still be changed. Raises: AccountErased."""
    if account.status in {"erasing", "erased"}:
        raise AccountErased


async def account_with_email(session: AsyncSession, email: str) -> UserAccount | None:
    """Return the account with this address, compared without case."""
    return await session.scalar(sa.select(UserAccount).where(_has_email(email)))


async def lock_account_with_email(session: AsyncSession, email: str) -> UserAccount | None:
    """Lock the account with this address, compared without case, and return it."""
    return await session.scalar(
        sa.select(UserAccount).where(_has_email(email)).with_for_update().execution_options(populate_existing=True)
    )


def accounts_by_id_or_email(user_id: UUID, email: str) -> sa.Select[UserAccount]:
    """Select the account of a user and the one that has an address, ordered by id."""
    return sa.select(UserAccount).where(sa.or_(UserAccount.id == user_id, _has_email(email))).order_by(UserAccount.id)


def _has_email(email: str) -> sa.ColumnElement[bool]:
    return sa.func.lower(UserAccount.email) == sa.func.lower(email)

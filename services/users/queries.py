"""Queries of the users service."""

from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from services.users.models import CreditAccount, UserAccount, UserSession, UserStatus
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
    return await session.scalar(sa.select(UserAccount).where(_has_email(email)))


async def credit_of(session: AsyncSession, user_id: UUID) -> CreditAccount:
    """Return a user's credit account. Raises: UserNotFound."""
    account = await session.get(CreditAccount, user_id)
    if account is None:
        raise UserNotFound
    return account


def accounts_newest_first(*, email: str | None, status: UserStatus | None) -> sa.Select[UserAccount]:
    """Select accounts, newest first."""
    query = sa.select(UserAccount).order_by(UserAccount.created_at.desc(), UserAccount.id.desc())
    if email is not None:
        query = query.where(_has_email(email))
    if status is not None:
        query = query.where(UserAccount.status == status)
    return query


def open_sessions_of(user_id: UUID) -> sa.Select[UserSession]:
    """Select the sessions that can still be refreshed, newest first."""
    return (
        sa.select(UserSession)
        .where(
            UserSession.user_id == user_id,
            UserSession.revoked_at.is_(None),
            UserSession.expires_at > sa.func.now(),
        )
        .order_by(UserSession.created_at.desc(), UserSession.id.desc())
    )


def _has_email(email: str) -> sa.ColumnElement[bool]:
    return sa.func.lower(UserAccount.email) == sa.func.lower(email)

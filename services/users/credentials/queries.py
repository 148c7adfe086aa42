"""Queries of sign-in: the account and the device that a request claims to be of."""

from dataclasses import dataclass
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from services.users.models.accounts import UserAccount
from services.users.models.credentials import KnownDevice
from services.users.secret_tokens import hash_of


@dataclass(frozen=True)
class Claimed:
    """The account and the device that a request claims to be of."""

    account: UserAccount | None
    throttling_key: UUID | str
    """The account's id; without an account the address, as the database compares it."""
    device_id: UUID | None
    """The device, if it is known to this account."""


async def claimed_by(session: AsyncSession, *, email: str, device_token: str | None) -> Claimed:
    """Find the account with this address and the device, in one statement, whether or not they exist."""
    given = sa.select(sa.func.lower(email).label("email")).subquery("given")
    query = (
        sa.select(given.c.email, UserAccount, KnownDevice.id)
        .select_from(given)
        .outerjoin(UserAccount, sa.func.lower(UserAccount.email) == given.c.email)
        .outerjoin(
            KnownDevice,
            sa.and_(KnownDevice.user_id == UserAccount.id, _is_known(device_token)),
        )
    )
    compared, account, device_id = (await session.execute(query)).one()
    return Claimed(account, account.id if account else compared, device_id)


async def known_device_id(session: AsyncSession, *, user_id: UUID, token: str | None) -> UUID | None:
    """Return the device with this token, if it is known to the account."""
    return await session.scalar(sa.select(KnownDevice.id).where(KnownDevice.user_id == user_id, _is_known(token)))


def _is_known(token: str | None) -> sa.ColumnElement[bool]:
    return sa.and_(KnownDevice.token_hash == hash_of(token or ""), KnownDevice.expires_at > sa.func.now())

"""Queries of passkeys."""

from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from services.users.models.second_factors import Passkey
from shared.errors import NotFound


class PasskeyNotFound(NotFound):
    """There is no such passkey."""

    code = "passkey_not_found"


def passkeys_of(user_id: UUID) -> sa.Select[Passkey]:
    """Select an account's passkeys, newest first."""
    return sa.select(Passkey).where(Passkey.user_id == user_id).order_by(Passkey.created_at.desc(), Passkey.id.desc())


async def passkey_of(session: AsyncSession, *, passkey_id: UUID, user_id: UUID) -> Passkey:
    """Return one of an account's passkeys. Raises: PasskeyNotFound."""
    passkey = await session.scalar(sa.select(Passkey).where(Passkey.id == passkey_id, Passkey.user_id == user_id))
    if passkey is None:
        raise PasskeyNotFound
    return passkey

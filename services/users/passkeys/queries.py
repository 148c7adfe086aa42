"""Queries of passkeys."""

from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from services.users.models.second_factors import Passkey
from shared.errors import NotFound
from shared.http.auth import Permit


class PasskeyNotFound(NotFound):
    """There is no such passkey."""

    code = "passkey_not_found"


def passkeys_of(user_id: UUID) -> sa.Select[Passkey]:
    """Select an account's passkeys, newest first."""
    return sa.select(Passkey).where(Passkey.user_id == user_id).order_by(Passkey.created_at.desc(), Passkey.id.desc())


async def passkey_of(session: AsyncSession, *, passkey_id: UUID, permit: Permit) -> Passkey:
    """Return a passkey. Raises: PasskeyNotFound, or the denial of the permit."""
    passkey = await session.get(Passkey, passkey_id)
    if passkey is None:
        raise PasskeyNotFound
    permit.check_owner(passkey.user_id)
    return passkey

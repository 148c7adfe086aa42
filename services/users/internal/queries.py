"""Queries of the internal routes."""

from collections.abc import Collection
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from services.users.models.accounts import UserAccount


async def personal_keys_of(session: AsyncSession, user_ids: Collection[UUID]) -> dict[UUID, bytes]:
    """Return the keys of users. Those that are unknown or erased have none."""
    rows = await session.execute(
        sa.select(UserAccount.id, UserAccount.personal_key).where(
            UserAccount.id == sa.func.any(sa.cast(list(user_ids), sa.ARRAY(sa.Uuid)))
        )
    )
    return {user_id: key for user_id, key in rows if key is not None}

"""Commands of credentials: store, delete and purge known devices."""

from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from services.users.credentials.devices import KNOWN_FOR, MAX_KNOWN_DEVICES
from services.users.models.credentials import KnownDevice
from services.users.secret_tokens import new_token
from shared.ids import new_id
from shared.statements import count_deleted, delete_older


async def store_device(session: AsyncSession, *, user_id: UUID, device_id: UUID | None) -> str | None:
    """Store the device of a successful sign-in. Return the token of a new one, which only the device keeps.

    `device_id`: the known device, which stays known for longer. An account keeps its last `MAX_KNOWN_DEVICES`.
    """
    now, expires_at = sa.func.now(), sa.func.now() + KNOWN_FOR
    if device_id is not None:
        await session.execute(
            sa.update(KnownDevice)
            .where(KnownDevice.id == device_id)
            .values(last_seen_at=now, expires_at=expires_at)
            .execution_options(synchronize_session=False)
        )
        return None
    surplus = (
        sa.select(KnownDevice.id)
        .where(KnownDevice.user_id == user_id)
        .order_by(KnownDevice.last_seen_at.desc(), KnownDevice.id.desc())
        .offset(MAX_KNOWN_DEVICES - 1)
        .with_for_update(skip_locked=True)
    )
    await count_deleted(session, sa.delete(KnownDevice).where(KnownDevice.id.in_(surplus)))
    token = new_token()
    await session.execute(
        sa.insert(KnownDevice).values(id=new_id(), user_id=user_id, token_hash=token.token_hash, expires_at=expires_at)
    )
    return token.token


async def delete_devices(session: AsyncSession, *, user_id: UUID) -> int:
    """Delete all devices of an account, such as when its owner takes it over. Return how many."""
    return await count_deleted(session, sa.delete(KnownDevice).where(KnownDevice.user_id == user_id))


async def purge_expired_devices(session: AsyncSession, *, limit: int) -> int:
    """Delete at most `limit` devices that are not known any more, and return how many."""
    return await delete_older(session, KnownDevice.id, time=KnownDevice.expires_at, than=sa.func.now(), limit=limit)

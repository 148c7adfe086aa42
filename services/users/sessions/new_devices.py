"""New devices: a user is told of a sign-in from a device that the account has not used before."""

from datetime import UTC, datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from services.users.credentials.commands import store_device
from services.users.models.accounts import UserAccount
from services.users.models.credentials import KnownDevice
from services.users.security_record.commands import Origin, append
from services.users.sessions.device_names import device_name
from shared.events.users import SignedInFromNewDevice
from shared.messaging.outbox.outbox import record


async def note_device(
    session: AsyncSession, *, account: UserAccount, device_id: UUID | None, origin: Origin
) -> str | None:
    """Store the device of a sign-in, and record a new one, except the account's first. Return a new one's token.

    `device_id`: the known device from which the request comes.
    """
    is_first = device_id is None and not await session.scalar(
        sa.select(sa.exists().where(KnownDevice.user_id == account.id))
    )
    token = await store_device(session, user_id=account.id, device_id=device_id)
    if device_id is None and not is_first:
        device = device_name(origin.user_agent)
        record(session, SignedInFromNewDevice(user_id=account.id, device=device, occurred_at=datetime.now(UTC)))
        details = {"device": device}
        await append(session, "new_device", user_id=account.id, actor=account.id, origin=origin, details=details)
    return token

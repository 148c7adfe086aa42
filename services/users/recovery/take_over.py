"""Taking over an account whose address nobody had verified: whoever proves the address gets nothing of the first owner.

Somebody may have signed up with an address that is not theirs, to share the account with its owner later.
"""

from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from services.users.accounts.commands import user_updated
from services.users.authentication.commands import remove_second_factors
from services.users.credentials.commands import delete_devices
from services.users.models.accounts import UserAccount
from services.users.models.data_export import DataExport
from services.users.one_time_tokens.commands import invalidate_tokens
from services.users.sessions.revocation import revoke_all_sessions
from shared.messaging.outbox.outbox import record

NEUTRAL_NAME = "Customer"
NEUTRAL_LOCALE = "en"
NEUTRAL_TIME_ZONE = "UTC"


async def take_over(session: AsyncSession, account: UserAccount) -> None:
    """Remove everything that the first owner of a locked account has set, and mark the address as verified.

    The caller sets a new password. Orders and the credit that they hold stay: they are facts, not settings.
    """
    await revoke_all_sessions(session, user_id=account.id)
    await invalidate_tokens(session, user_id=account.id, purposes=["verify_email", "change_email", "reset_password"])
    await delete_devices(session, user_id=account.id)
    await remove_second_factors(session, user_id=account.id)
    await session.execute(sa.delete(DataExport).where(DataExport.user_id == account.id))
    account.name = NEUTRAL_NAME
    account.phone = account.bio = None
    account.locale = NEUTRAL_LOCALE
    account.time_zone = NEUTRAL_TIME_ZONE
    account.email_verified_at = account.updated_at = datetime.now(UTC)
    await session.flush()  # sets the version, after which the event is the account's present state
    record(session, user_updated(account))

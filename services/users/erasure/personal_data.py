"""Personal data in the users service, and how they are erased. Credit and the security record stay, without names."""

from datetime import UTC, datetime
from uuid import UUID, uuid4

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from services.users.accounts.sign_ups import SIGN_UP_JOB, NewUser
from services.users.encryption import Encryption, SecretUnreadable
from services.users.models import Base
from services.users.models.accounts import UserAccount
from services.users.models.credit import CreditEntry
from services.users.models.one_time_tokens import OneTimeToken
from services.users.one_time_tokens.requests import RESET_LINK_JOB, ResetLinkRequest
from services.users.recovery.take_over import NEUTRAL_LOCALE, NEUTRAL_TIME_ZONE
from services.users.security_record.commands import ANONYMOUS, SYSTEM
from shared.erased_users import erase_copies
from shared.statements import count_deleted

KEPT_TABLES = frozenset({"credit_account", "credit_reservation", "credit_entry", "security_event", "erasure"})
"""The tables with a column `user_id` whose rows stay. From all others the user's rows are deleted."""
NEUTRAL_NAME = "Erased user"

# The origin is of whoever acted: an admin's act keeps its own. A reason is free text about the user.
_ERASE_FROM_RECORD = sa.text("""
    UPDATE security_event SET
        address = CASE WHEN actor = ANY(:actors) THEN NULL ELSE address END,
        user_agent = CASE WHEN actor = ANY(:actors) THEN NULL ELSE user_agent END,
        details = CASE WHEN user_id = CAST(:user_id AS uuid) THEN details - 'reason' ELSE details END
    WHERE user_id = CAST(:user_id AS uuid) OR actor = :user_id
""").bindparams(sa.bindparam("user_id", type_=sa.Text), sa.bindparam("actors", type_=sa.ARRAY(sa.Text)))
_JOBS = sa.text("""
    SELECT id, entrypoint, payload FROM pgqueuer WHERE entrypoint = ANY(:entrypoints) FOR UPDATE SKIP LOCKED
""").bindparams(sa.bindparam("entrypoints", type_=sa.ARRAY(sa.Text)))
_DELETE_JOBS = sa.text("DELETE FROM pgqueuer WHERE id = ANY(CAST(:ids AS bigint[]))")


async def erase_personal_data(session: AsyncSession, account: UserAccount, *, encryption: Encryption) -> None:
    """Erase all personal data of a locked account, and destroy its key, without which sealed events are unreadable."""
    emails = {account.email, *await _other_addresses(session, account.id)}
    await _delete_jobs(session, emails=emails, encryption=encryption)
    for table in reversed(Base.metadata.sorted_tables):
        if "user_id" in table.columns and table.name not in KEPT_TABLES:
            await count_deleted(session, sa.delete(table).where(table.c.user_id == account.id))
    await session.execute(
        sa.update(CreditEntry)
        .where(CreditEntry.user_id == account.id, CreditEntry.reason.is_not(None))
        .values(reason=None),
        execution_options={"synchronize_session": False},
    )
    await session.execute(
        _ERASE_FROM_RECORD, {"user_id": str(account.id), "actors": [str(account.id), ANONYMOUS, SYSTEM]}
    )
    await erase_copies(session, account.id)
    _neutralize(account)
    await session.flush()


def _neutralize(account: UserAccount) -> None:
    # Unique, and in a domain that never exists (RFC 2606), but a valid address as the API's schema says. The former
    # address can be used for another account.
    account.email = f"erased-{uuid4()}@erased.example"
    account.name = NEUTRAL_NAME
    account.phone = account.bio = account.password_hash = account.personal_key = None
    account.locale, account.time_zone = NEUTRAL_LOCALE, NEUTRAL_TIME_ZONE
    account.roles = ["customer"]
    account.second_factor = False
    account.status = "erased"
    account.updated_at = datetime.now(UTC)


async def _other_addresses(session: AsyncSession, user_id: UUID) -> set[str]:
    return set(await session.scalars(sa.select(OneTimeToken.email).where(OneTimeToken.user_id == user_id)))


async def _delete_jobs(session: AsyncSession, *, emails: set[str], encryption: Encryption) -> None:
    """Delete the jobs with one of these addresses. Each is opened, because payloads are encrypted; there are few."""
    rows = await session.execute(_JOBS, {"entrypoints": [SIGN_UP_JOB, RESET_LINK_JOB]})
    wanted = {email.lower() for email in emails}
    ids = [row.id for row in rows if _address_in(row.entrypoint, row.payload, encryption=encryption).lower() in wanted]
    await session.execute(_DELETE_JOBS, {"ids": ids})


def _address_in(entrypoint: str, payload: bytes | None, *, encryption: Encryption) -> str:
    """Return the address in a job's payload; empty if no key opens it, as nobody else can then."""
    try:
        opened = encryption.decrypt((payload or b"").decode())
    except SecretUnreadable:
        return ""
    if entrypoint == SIGN_UP_JOB:
        return NewUser.model_validate_json(opened).profile.email
    return ResetLinkRequest.model_validate_json(opened).email

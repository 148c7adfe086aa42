"""Commands of accounts: create one, update its profile, replace its password's hash."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.users.accounts.queries import lock_account, refuse_erased
from services.users.credit.commands import open_credit_account
from services.users.models.accounts import Role, UserAccount
from services.users.security_record.commands import Origin, append
from shared.errors import Conflict
from shared.events.users import Contact, UserCreated, UserUpdated
from shared.ids import new_id
from shared.messaging.outbox.outbox import record
from shared.preconditions import Precondition


class EmailTaken(Conflict):
    """There is an account with this e-mail address already."""

    code = "email_taken"


@dataclass(frozen=True)
class Profile:
    """The personal data of a new account."""

    email: str
    name: str
    phone: str | None
    locale: str
    time_zone: str


async def create_account(
    session: AsyncSession,
    *,
    profile: Profile,
    password_hash: str,
    credit_limit_cents: int,
    credit_currency: str,
    user_id: UUID | None = None,
    roles: Sequence[Role] = ("customer",),
    email_verified_at: datetime | None = None,
    actor: UUID | str | None = None,
    origin: Origin | None = None,
) -> UserAccount:
    """Create a user with a credit account. E-mail addresses are compared without case.

    `actor` is who creates it for the user; by default it is the user. Raises: EmailTaken.
    """
    created = (
        insert(UserAccount)
        .values(
            id=user_id or new_id(),
            email=profile.email,
            name=profile.name,
            phone=profile.phone,
            locale=profile.locale,
            time_zone=profile.time_zone,
            password_hash=password_hash,
            roles=list(roles),
            email_verified_at=email_verified_at,
        )
        .on_conflict_do_nothing(index_elements=[sa.text("lower(email)")])
        .returning(UserAccount)
    )
    account = await session.scalar(created)
    if account is None:
        raise EmailTaken
    await open_credit_account(session, user_id=account.id, limit_cents=credit_limit_cents, currency=credit_currency)
    record(session, UserCreated(**_fields(account)))
    await append(session, "account_created", user_id=account.id, actor=actor or account.id, origin=origin)
    return account


async def update_profile(
    session: AsyncSession,
    *,
    user_id: UUID,
    precondition: Precondition,
    changes: Mapping[str, str | None],
    origin: Origin | None = None,
) -> tuple[UserAccount, bool]:
    """Set the profile's fields named in `changes`; return the account, and whether that changed anything.

    If all have these values already, version and events stay the same.

    Raises: UserNotFound, AccountErased, PreconditionFailed.
    """
    account = await lock_account(session, user_id)
    refuse_erased(account)
    precondition.check(account.version)
    changed = {field: value for field, value in changes.items() if getattr(account, field) != value}
    if not changed:
        return account, False
    for field, value in changed.items():
        setattr(account, field, value)
    account.updated_at = datetime.now(UTC)
    await session.flush()  # sets the version that the response shows
    record(session, user_updated(account))
    await append(
        session,
        "profile_changed",
        user_id=user_id,
        actor=user_id,
        origin=origin,
        details={"members": [*sorted(changed)]},
    )
    return account, True


def user_updated(account: UserAccount) -> UserUpdated:
    """Build the event that has the account's present state."""
    return UserUpdated(**_fields(account))


async def replace_password_hash(session: AsyncSession, *, user_id: UUID, old_hash: str, new_hash: str) -> None:
    """Store the same password's hash with newer parameters, unless the password was changed meanwhile."""
    await session.execute(
        sa.update(UserAccount)
        .where(UserAccount.id == user_id, UserAccount.password_hash == old_hash)
        .values(password_hash=new_hash)
    )


def _fields(account: UserAccount) -> dict[str, Any]:
    """Return the profile as the events of a user have it."""
    return {
        "user_id": account.id,
        "personal": account.seal(Contact(email=account.email, name=account.name, phone=account.phone)),
        "locale": account.locale,
        "time_zone": account.time_zone,
        "email_verified": account.email_verified_at is not None,
    }

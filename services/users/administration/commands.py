"""Commands of administration: suspend, reinstate, set roles, remove second factors, create verified accounts.

Each records an event and appends to the security record, with the actor, in the caller's transaction.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import get_args
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from services.users.accounts.commands import Profile, create_account
from services.users.accounts.queries import lock_account, refuse_erased
from services.users.administration.queries import is_last_active_admin
from services.users.authentication import commands as authentication
from services.users.models.accounts import Role, UserAccount
from services.users.second_factors.commands import SecondFactorMissing
from services.users.security_record.commands import Origin, append
from services.users.sessions.revocation import revoke_all_sessions
from shared.errors import Conflict
from shared.events.users import UserReinstated, UserRolesChanged, UserSuspended
from shared.messaging.outbox.outbox import record
from shared.preconditions import ANY_VERSION, Precondition

_ADMINS_LOCK = 0x61646D696E73
"""The advisory lock of every change that could leave the shop without an active admin."""


class AccountNotActive(Conflict):
    """The account is not active."""

    code = "account_not_active"


class AccountNotSuspended(Conflict):
    """The account is not suspended."""

    code = "account_not_suspended"


class LastAdmin(Conflict):
    """The account is the last active admin; make another user an admin first."""

    code = "last_admin"


@dataclass(frozen=True)
class Act:
    """An administrator's act: by whom, from where, and on which versions of the account."""

    actor: UUID | str
    """The admin's user id, or the operator who ran a command."""
    origin: Origin | None = None
    precondition: Precondition = ANY_VERSION


async def create_verified_account(
    session: AsyncSession,
    *,
    user_id: UUID,
    profile: Profile,
    password_hash: str,
    credit_limit_cents: int,
    credit_currency: str,
    act: Act,
    roles: Sequence[Role] = ("customer",),
) -> UserAccount:
    """Create an account whose address counts as verified. Raises: EmailTaken."""
    return await create_account(
        session,
        user_id=user_id,
        profile=profile,
        password_hash=password_hash,
        credit_limit_cents=credit_limit_cents,
        credit_currency=credit_currency,
        roles=roles,
        email_verified_at=datetime.now(UTC),
        actor=act.actor,
        origin=act.origin,
    )


async def suspend(session: AsyncSession, *, user_id: UUID, reason: str, act: Act) -> UserAccount:
    """Suspend an active account, and revoke its sessions. Its orders get no credit any more.

    Raises: UserNotFound, PreconditionFailed, AccountNotActive, LastAdmin.
    """
    account = await lock_as_admin(session, user_id, act=act)
    if account.status != "active":
        raise AccountNotActive(extra={"account_status": account.status})
    if await is_last_active_admin(session, account):
        raise LastAdmin
    account.status = "suspended"
    await _flush(session, account)
    record(session, UserSuspended(user_id=user_id, reason=reason))
    await append(
        session, "account_suspended", user_id=user_id, actor=act.actor, origin=act.origin, details={"reason": reason}
    )
    await revoke_all_sessions(session, user_id=user_id, actor=act.actor, origin=act.origin)
    return account


async def reinstate(session: AsyncSession, *, user_id: UUID, reason: str, act: Act) -> UserAccount:
    """Reinstate a suspended account. Its sessions stay revoked: the user signs in again.

    Raises: UserNotFound, PreconditionFailed, AccountNotSuspended.
    """
    account = await lock_as_admin(session, user_id, act=act)
    if account.status != "suspended":
        raise AccountNotSuspended(extra={"account_status": account.status})
    account.status = "active"
    await _flush(session, account)
    record(session, UserReinstated(user_id=user_id))
    await append(
        session, "account_reinstated", user_id=user_id, actor=act.actor, origin=act.origin, details={"reason": reason}
    )
    return account


async def remove_second_factors(session: AsyncSession, *, user_id: UUID, reason: str, act: Act) -> UserAccount:
    """Remove all second factors of a user who has lost them, and revoke the sessions. The password signs in then.

    Raises: UserNotFound, PreconditionFailed, SecondFactorMissing.
    """
    account = await lock_as_admin(session, user_id, act=act)
    if not account.second_factor:
        raise SecondFactorMissing
    await authentication.remove_second_factors(session, user_id=user_id)
    await authentication.record_change(
        session,
        user_id=user_id,
        change="all_removed_by_admin",
        origin=act.origin,
        actor=act.actor,
        details={"reason": reason},
    )
    await revoke_all_sessions(session, user_id=user_id, actor=act.actor, origin=act.origin)
    return account


async def set_roles(session: AsyncSession, *, user_id: UUID, roles: Collection[Role], act: Act) -> UserAccount:
    """Set all roles of a user. The same roles again change nothing, and record no event.

    The user is signed out, because access tokens list roles until they expire.

    Raises: UserNotFound, AccountErased, PreconditionFailed, LastAdmin.
    """
    account = await lock_as_admin(session, user_id, act=act)
    refuse_erased(account)
    previous_roles = list(account.roles)
    before, after = set(previous_roles), set(roles)
    if before == after:
        return account
    if "admin" in before - after and await is_last_active_admin(session, account):
        raise LastAdmin
    account.roles = [role for role in get_args(Role) if role in after]
    await _flush(session, account)
    record(session, UserRolesChanged(user_id=user_id, roles=tuple(account.roles)))
    await append(
        session,
        "roles_changed",
        user_id=user_id,
        actor=act.actor,
        origin=act.origin,
        details={"roles": [*account.roles], "previous_roles": [*previous_roles]},
    )
    await revoke_all_sessions(session, user_id=user_id, actor=act.actor, origin=act.origin)
    return account


async def grant_roles(session: AsyncSession, *, user_id: UUID, roles: Collection[Role], act: Act) -> UserAccount:
    """Give a user more roles. Raises: UserNotFound, AccountErased, PreconditionFailed."""
    account = await lock_as_admin(session, user_id, act=act)
    return await set_roles(session, user_id=user_id, roles={*account.roles, *roles}, act=act)


async def lock_as_admin(session: AsyncSession, user_id: UUID, *, act: Act) -> UserAccount:
    """Lock an account, after the lock that all changes of admins share. Raises: UserNotFound, PreconditionFailed."""
    # First, so that no transaction waits for it with an account locked. Statements after it see what the transaction
    # that held it before has committed.
    await session.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADMINS_LOCK)))
    account = await lock_account(session, user_id)
    act.precondition.check(account.version)
    return account


async def _flush(session: AsyncSession, account: UserAccount) -> None:
    account.updated_at = datetime.now(UTC)
    await session.flush()  # sets the version that the response shows

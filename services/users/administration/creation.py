"""Accounts that operators create, and roles that they grant, on the command line, such as the first admin's."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast, get_args

from sqlalchemy.ext.asyncio import AsyncSession

from services.users.accounts.commands import EmailTaken
from services.users.accounts.queries import account_with_email
from services.users.accounts.schemas import SignUp
from services.users.administration.commands import Act, create_verified_account, grant_roles
from services.users.credentials.passwords import Passwords
from services.users.credentials.state import password_policy
from services.users.models.accounts import Role, UserStatus
from services.users.settings import Settings
from shared.database import open_database
from shared.ids import new_id

T = TypeVar("T")

SET_UP = "set-up"
"""The actor of `python -m services set-up`."""


class RoleUnknown(ValueError):
    """There is no such role."""


@dataclass(frozen=True)
class Created:
    """A new account."""


@dataclass(frozen=True)
class Known:
    """An account that existed before, and the wanted roles that it lacks."""

    status: UserStatus
    is_verified: bool
    missing: tuple[Role, ...]


def roles_of(names: Sequence[str]) -> list[Role]:
    """Return the names as roles. Raises: RoleUnknown."""
    known: tuple[str, ...] = get_args(Role)
    if not set(names) <= set(known):
        raise RoleUnknown(f"must be one of {', '.join(known)}")
    return cast("list[Role]", list(names))


async def create_admin(settings: Settings, *, email: str, password: str) -> None:
    """Create an admin's account, unless there is an account with this address.

    Raises: PasswordBreached, PasswordWeak.
    """
    admin = SignUp.model_validate({"email": email, "name": "Admin", "password": password})
    await create_user(settings, admin, roles=["admin"], actor=SET_UP)


async def create_user(settings: Settings, user: SignUp, *, roles: Sequence[Role], actor: str) -> Created | Known:
    """Create an account with a verified address, unless there is one with this address: that one stays as it is.

    Raises: PasswordBreached, PasswordWeak.
    """
    password_policy(settings).check(user.password, personal=(user.email, user.name))
    password_hash = await Passwords(concurrency=1).hash(user.password)

    async def create(session: AsyncSession) -> Created | Known:
        known = await account_with_email(session, user.email)
        if known is not None:
            missing = tuple(role for role in roles if role not in known.roles)
            return Known(known.status, known.email_verified_at is not None, missing)
        await create_verified_account(
            session,
            user_id=new_id(),
            profile=user.profile(),
            password_hash=password_hash,
            credit_limit_cents=settings.default_credit_limit_cents,
            credit_currency=settings.credit_currency,
            roles=roles,
            act=Act(actor),
        )
        return Created()

    try:
        return await _in_transaction(settings, create)
    except EmailTaken:  # somebody has just created it: the second try finds it
        return await _in_transaction(settings, create)


async def grant(settings: Settings, *, email: str, roles: Sequence[Role], actor: str) -> None:
    """Give the account with this address more roles."""

    async def work(session: AsyncSession) -> None:
        account = await account_with_email(session, email)
        if account is not None:
            await grant_roles(session, user_id=account.id, roles=roles, act=Act(actor))

    await _in_transaction(settings, work)


async def _in_transaction(settings: Settings, work: Callable[[AsyncSession], Awaitable[T]]) -> T:
    database = open_database(settings.database_url, service="users", pool_size=1)
    try:
        async with database.sessions.begin() as session:
            return await work(session)
    finally:
        await database.close()

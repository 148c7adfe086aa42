"""Accounts that operators create on the command line, such as the first admin's."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import cast, get_args

from services.users.accounts.commands import EmailTaken, Profile, create_account
from services.users.accounts.schemas import SignUp
from services.users.credentials.passwords import Passwords
from services.users.credentials.state import password_policy
from services.users.models.accounts import Role
from services.users.settings import Settings
from shared.database import open_database


class RoleUnknown(ValueError):
    """There is no such role."""


def roles_of(names: Sequence[str]) -> list[Role]:
    """Return the names as roles. Raises: RoleUnknown."""
    known: tuple[str, ...] = get_args(Role)
    if not set(names) <= set(known):
        raise RoleUnknown(f"must be one of {', '.join(known)}")
    return cast("list[Role]", list(names))


async def create_admin(settings: Settings, *, email: str, password: str) -> bool:
    """Create an admin's account. Return whether it is new; an account with this address stays as it is.

    Raises: PasswordBreached, PasswordWeak.
    """
    admin = SignUp.model_validate({"email": email, "name": "Admin", "password": password})
    return await create_verified_account(settings, admin, roles=["admin"])


async def create_verified_account(settings: Settings, user: SignUp, *, roles: list[Role]) -> bool:
    """Create an account with a verified address. Return whether it is new; an existing one stays as it is.

    Raises: PasswordBreached, PasswordWeak.
    """
    password_policy(settings).check(user.password, personal=(user.email, user.name))
    password_hash = await Passwords(concurrency=1).hash(user.password)
    database = open_database(settings.database_url, service="users", pool_size=1)
    try:
        async with database.sessions.begin() as session:
            await create_account(
                session,
                profile=Profile(user.email, user.name, user.phone, user.locale, user.time_zone),
                password_hash=password_hash,
                credit_limit_cents=settings.default_credit_limit_cents,
                credit_currency=settings.credit_currency,
                roles=roles,
                email_verified_at=datetime.now(UTC),
            )
    except EmailTaken:
        return False
    else:
        return True
    finally:
        await database.close()

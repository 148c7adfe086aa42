"""Queries of the methods by which an account can authenticate."""

from dataclasses import dataclass
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from services.users.models.accounts import UserAccount
from services.users.models.second_factors import Passkey, RecoveryCode, Totp
from services.users.models.sessions import AuthenticationMethod


@dataclass(frozen=True)
class Methods:
    """The methods of one account."""

    password: bool
    totp: bool
    passkeys: int
    recovery_codes: int

    @property
    def has_second_factor(self) -> bool:
        """Return whether a password alone does not sign in."""
        return self.totp or self.passkeys > 0

    @property
    def second_factors(self) -> list[AuthenticationMethod]:
        """Return the methods that are accepted after the password; none for an account without a second factor."""
        available: dict[AuthenticationMethod, bool] = {
            "otp": self.totp,
            "hwk": self.passkeys > 0,
            "rc": self.recovery_codes > 0,
        }
        return [method for method, is_available in available.items() if is_available] if self.has_second_factor else []

    @property
    def for_step_up(self) -> list[AuthenticationMethod]:
        """Return the methods that a step-up accepts."""
        return self.second_factors or ["pwd"]

    @property
    def can_do_without_password(self) -> bool:
        """Return whether the owner still gets in after losing any one passkey, although there is no password.

        With a recovery code: after a password reset by mail, the code is the second factor.
        """
        return self.passkeys > 1 or (self.passkeys == 1 and self.recovery_codes > 0)


async def methods_of(session: AsyncSession, user_id: UUID) -> Methods:
    """Return the methods of an account; those of an unknown account are none."""

    def count(table: type[Passkey | RecoveryCode | Totp], *conditions: sa.ColumnElement[bool]) -> sa.ScalarSelect[int]:
        return sa.select(sa.func.count()).where(table.user_id == user_id, *conditions).scalar_subquery()

    password = sa.select(UserAccount.password_hash.is_not(None)).where(UserAccount.id == user_id).scalar_subquery()
    row = (
        await session.execute(
            sa.select(password, count(Totp, Totp.confirmed_at.is_not(None)), count(Passkey), count(RecoveryCode))
        )
    ).one()
    return Methods(password=bool(row[0]), totp=row[1] > 0, passkeys=row[2], recovery_codes=row[3])

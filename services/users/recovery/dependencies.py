"""Dependencies of recovery: who the caller is beyond the access token."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from pydantic import SecretStr

from services.users.credentials.dependencies import NetworksDep, PasswordPolicyDep, PasswordsDep, SignInThrottleDep
from services.users.credentials.growing_delay import TooManyAttempts
from services.users.credentials.hashing_queue import HashingOverloaded
from services.users.credentials.networks import ClientNetworks
from services.users.credentials.passwords import Passwords
from services.users.credentials.policy import PasswordPolicy
from services.users.credentials.throttling import SignInThrottle
from services.users.dependencies import SettingsDep
from services.users.models.accounts import UserAccount
from services.users.models.one_time_tokens import TokenPurpose
from services.users.one_time_tokens.commands import OneTimeTokenInvalid, TokenPolicy, open_token, token_policy
from services.users.recovery.commands import CheckedPassword, PasswordWrong
from shared.database import Sessions
from shared.http.auth import NOBODY, SIGNED_IN, Permit, by_owner
from shared.http.dependencies import SessionsDep
from shared.http.disconnects import while_connected

OWN_TOKEN = by_owner(own=SIGNED_IN, others=NOBODY, others_denial=OneTimeTokenInvalid)
CONFIRMATION_PROBLEMS = (PasswordWrong, TooManyAttempts, HashingOverloaded)
"""The problems of a route that asks for the present password."""


@dataclass(frozen=True)
class PasswordConfirmation:
    """Checks the present password of an account for one request.

    Wrong passwords count as failed sign-ins: neither a stolen access token nor a mailed one allows guesses without a
    limit.
    """

    request: Request
    networks: ClientNetworks
    sessions: Sessions
    passwords: Passwords
    throttle: SignInThrottle

    async def of_token(self, token: str, *, purpose: TokenPurpose, password: SecretStr) -> CheckedPassword:
        """Return the proof that a token's account has this password. An invalid token costs no hash.

        Raises: OneTimeTokenInvalid, PasswordWrong, TooManyAttempts, HashingOverloaded.
        """
        async with self.sessions() as session:
            opened = await open_token(session, token=token, purpose=purpose)
            account = await session.get(UserAccount, opened.user_id)
        if account is None:
            raise OneTimeTokenInvalid
        await self._check(account, password)
        return CheckedPassword(account.id, account.password_hash)

    async def _check(self, account: UserAccount, password: SecretStr) -> None:
        async with self.throttle.attempt(account=account.id, networks=self.networks, failure=PasswordWrong):
            checking = self.passwords.verify(password, stored_hash=account.password_hash, use="change")
            if not (await while_connected(self.request, checking)).is_right:
                raise PasswordWrong


@dataclass(frozen=True)
class PasswordReplacement:
    """Checks and hashes the password that the holder of a mailed token chooses."""

    request: Request
    sessions: Sessions
    passwords: Passwords
    policy: PasswordPolicy

    async def hash(self, new_password: SecretStr, *, token: str, purpose: TokenPurpose) -> str:
        """Return the new password's hash. An invalid token costs no hash.

        Raises: OneTimeTokenInvalid, HashingOverloaded, and PASSWORD_PROBLEMS.
        """
        async with self.sessions() as session:
            opened = await open_token(session, token=token, purpose=purpose)
        self.policy.check(new_password, personal=(opened.email,))
        return await while_connected(self.request, self.passwords.hash(new_password, use="change"))


async def _password_confirmation(
    request: Request,
    networks: NetworksDep,
    sessions: SessionsDep,
    passwords: PasswordsDep,
    throttle: SignInThrottleDep,
) -> PasswordConfirmation:
    return PasswordConfirmation(request, networks, sessions, passwords, throttle)


async def _password_replacement(
    request: Request, sessions: SessionsDep, passwords: PasswordsDep, policy: PasswordPolicyDep
) -> PasswordReplacement:
    return PasswordReplacement(request, sessions, passwords, policy)


async def _token_policy(settings: SettingsDep) -> TokenPolicy:
    return token_policy(settings)


OwnTokenPermit = Annotated[Permit, Depends(OWN_TOKEN)]
PasswordConfirmationDep = Annotated[PasswordConfirmation, Depends(_password_confirmation)]
PasswordReplacementDep = Annotated[PasswordReplacement, Depends(_password_replacement)]
TokenPolicyDep = Annotated[TokenPolicy, Depends(_token_policy)]

"""Dependencies of recovery: who the caller is beyond the access token."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request
from pydantic import SecretStr

from services.users.accounts.queries import account_of
from services.users.credentials.dependencies import NetworksDep, PasswordsDep, SignInThrottleDep
from services.users.dependencies import SettingsDep
from services.users.models.accounts import UserAccount
from services.users.one_time_tokens.commands import TokenPolicy, token_policy
from services.users.recovery.commands import PasswordWrong
from shared.http.auth import Caller
from shared.http.dependencies import SessionsDep
from shared.http.disconnects import while_connected

ConfirmPassword = Callable[[SecretStr], Awaitable[UserAccount]]
"""Returns the caller's account if the password is right.

Raises: UserNotFound, PasswordWrong, and the problems of a route that authenticates by password.
"""


async def _confirm_password(
    *,
    request: Request,
    caller: Caller,
    networks: NetworksDep,
    sessions: SessionsDep,
    passwords: PasswordsDep,
    throttle: SignInThrottleDep,
) -> ConfirmPassword:
    """Return the check of the password that sensitive changes need.

    Wrong passwords count as failed sign-ins: a stolen access token must not allow guesses without a limit.
    """

    async def confirm(password: SecretStr) -> UserAccount:
        async with sessions() as session:
            account = await account_of(session, caller.user_id)
        async with throttle.attempt(account=account.id, networks=networks, failure=PasswordWrong):
            checking = passwords.verify(password, stored_hash=account.password_hash, use="change")
            if not (await while_connected(request, checking)).is_right:
                raise PasswordWrong
        return account

    return confirm


async def _token_policy(settings: SettingsDep) -> TokenPolicy:
    return token_policy(settings)


ConfirmPasswordDep = Annotated[ConfirmPassword, Depends(_confirm_password)]
TokenPolicyDep = Annotated[TokenPolicy, Depends(_token_policy)]

"""Dependencies of routes that take passwords or other secrets."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from services.users.credentials.authentication import PasswordAuthentication
from services.users.credentials.failed_sign_ins import FailedSignIns
from services.users.credentials.limits import CredentialLimits, LimitedUse
from services.users.credentials.networks import ClientNetworks, networks_of
from services.users.credentials.passwords import Passwords
from services.users.credentials.policy import PasswordPolicy
from services.users.credentials.throttling import SignInThrottle
from services.users.dependencies import SettingsDep
from shared.http.dependencies import SessionsDep
from shared.http.rate_limit import client_address


async def _passwords(request: Request) -> Passwords:
    passwords: Passwords = request.app.state.passwords
    return passwords


async def _password_policy(request: Request) -> PasswordPolicy:
    policy: PasswordPolicy = request.app.state.password_policy
    return policy


async def _sign_in_throttle(request: Request) -> SignInThrottle:
    throttle: SignInThrottle = request.app.state.sign_in_throttle
    return throttle


async def _networks(request: Request, settings: SettingsDep) -> ClientNetworks:
    return networks_of(client_address(request), shared=settings.shared_client_networks)


PasswordsDep = Annotated[Passwords, Depends(_passwords)]
PasswordPolicyDep = Annotated[PasswordPolicy, Depends(_password_policy)]
SignInThrottleDep = Annotated[SignInThrottle, Depends(_sign_in_throttle)]
NetworksDep = Annotated[ClientNetworks, Depends(_networks)]


@dataclass(frozen=True)
class RequestLimits:
    """The limits of one request: `await limits.check(LimitedUse.SIGN_UP, target=email_target(body.email))`."""

    request: Request
    networks: ClientNetworks

    async def check(self, use: LimitedUse, *, target: str | None = None) -> None:
        """Count the request. Raises: RateLimited."""
        limits: CredentialLimits = self.request.app.state.credential_limits
        await limits.check(use, request=self.request, networks=self.networks, target=target)


async def _request_limits(request: Request, networks: NetworksDep) -> RequestLimits:
    return RequestLimits(request, networks)


async def _password_authentication(
    request: Request,
    networks: NetworksDep,
    sessions: SessionsDep,
    passwords: PasswordsDep,
    throttle: SignInThrottleDep,
) -> PasswordAuthentication:
    failures: FailedSignIns = request.app.state.failed_sign_ins
    return PasswordAuthentication(request, networks, sessions, passwords, throttle, failures)


RequestLimitsDep = Annotated[RequestLimits, Depends(_request_limits)]
PasswordAuthenticationDep = Annotated[PasswordAuthentication, Depends(_password_authentication)]

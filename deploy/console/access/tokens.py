"""Access tokens of an admin: signing in at the users service, refreshing, and reading what a token names."""

import time
from dataclasses import dataclass
from typing import Any

from deploy.console.services import Services

REFRESH_MARGIN_SECONDS = 30
"""A token is refreshed when it is valid for less than this: a request with it may take a while."""


@dataclass(frozen=True)
class TokenPair:
    """The tokens of a session."""

    access_token: str
    refresh_token: str
    expires_at: float
    """Time of the system's clock, in seconds since the epoch."""

    @property
    def is_fresh(self) -> bool:
        """Return whether the access token can still be used."""
        return time.time() < self.expires_at - REFRESH_MARGIN_SECONDS


async def sign_in(services: Services, *, email: str, password: str) -> TokenPair:
    """Sign in with a password. Raises: Problem; that of an account with a second factor has a `challenge`."""
    return _pair(await services.post("users", "/v1/sessions", {"email": email, "password": password}))


async def answer_challenge(services: Services, challenge: str, *, code: str) -> TokenPair:
    """Complete a sign-in with a code of the authenticator app, or a recovery code. Raises: Problem."""
    proof = {"code": code} if code.isdecimal() else {"recovery_code": code}
    return _pair(await services.post("users", "/v1/sessions/second-factor", {"challenge": challenge, **proof}))


async def refresh(services: Services, refresh_token: str) -> TokenPair:
    """Exchange a refresh token for the next pair. Raises: Problem."""
    return _pair(await services.post("users", "/v1/sessions/refresh", {"refresh_token": refresh_token}))


def _pair(found: dict[str, Any]) -> TokenPair:
    return TokenPair(found["access_token"], found["refresh_token"], time.time() + found["expires_in"])

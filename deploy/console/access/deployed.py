"""Access to a deployed console: an admin's tokens, in cookies that no script can read or in a header.

Browsers send the cookies only from the console's own pages (SameSite=Strict), and `same_origin` checks every form.
"""

from fastapi import Request, Response

from deploy.console.access.operator import NotAnAdmin, Operator, SignInRequired
from deploy.console.access.tokens import TokenPair, refresh
from deploy.console.services import Services
from shared.errors import Problem
from shared.http.request_context import add_response_header
from shared.http.tokens import Principal, TokenExpired, TokenInvalid, TokenRevoked, TokenVerifier

ACCESS_COOKIE = "orderly_console_access"
REFRESH_COOKIE = "orderly_console_refresh"
REFRESH_COOKIE_SECONDS = 12 * 3600
"""An operator signs in again after half a day without a request, although the session may last longer."""


class DeployedAccess:
    """Verifies the tokens of requests, and refreshes the session of a browser."""

    def __init__(self, services: Services, verifier: TokenVerifier) -> None:
        self._services = services
        self._verifier = verifier

    async def operator_of(self, request: Request) -> Operator:
        """Return the admin who sent the request. Raises: SignInRequired, NotAnAdmin, KeysUnavailable."""
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return _admin(await self._verifier.verify(given), given)
        token = request.cookies.get(ACCESS_COOKIE, "")
        try:
            return _admin(await self._verifier.verify(token), token)
        except (TokenExpired, TokenInvalid):
            pass
        except TokenRevoked:
            drop_tokens(request)
            raise SignInRequired from None
        pair = await self._refreshed(request)
        return _admin(await self._verifier.verify(pair.access_token), pair.access_token)

    async def close(self) -> None:
        """Stop reading the revoked sessions."""
        await self._verifier.close()

    async def _refreshed(self, request: Request) -> TokenPair:
        token = request.cookies.get(REFRESH_COOKIE)
        if token is None:
            raise SignInRequired
        try:
            pair = await refresh(self._services, token)
        except Problem as problem:
            if problem.status >= 500:
                raise
            drop_tokens(request)
            raise SignInRequired from problem
        keep_tokens(request, pair)
        return pair


def keep_tokens(request: Request, pair: TokenPair) -> None:
    """Set the cookies of a session on the response to a request, even if that is a problem."""
    _set(request, {ACCESS_COOKIE: pair.access_token, REFRESH_COOKIE: pair.refresh_token}, REFRESH_COOKIE_SECONDS)


def drop_tokens(request: Request) -> None:
    """Remove the cookies from the browser."""
    _set(request, {ACCESS_COOKIE: "", REFRESH_COOKIE: ""}, 0)


def _set(request: Request, cookies: dict[str, str], max_age: int) -> None:
    response = Response()
    for name, value in cookies.items():
        secure = request.url.scheme == "https"
        response.set_cookie(name, value, max_age=max_age, secure=secure, httponly=True, samesite="strict")
    for cookie in response.headers.getlist("set-cookie"):
        add_response_header(request, "Set-Cookie", cookie)


def _admin(caller: Principal, token: str) -> Operator:
    if "admin" not in caller.roles:
        raise NotAnAdmin
    return Operator(user_id=str(caller.user_id), token=token)

"""A browser's session: the tokens of its user in two cookies, which no script can read.

The pages call the functions of the API with the caller that the cookie names, so every rule is the API's own.
"""

import re
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlencode
from uuid import UUID

from fastapi import Depends, Request, Response
from pydantic import SecretStr
from starlette.responses import RedirectResponse
from structlog.contextvars import bind_contextvars

from services.users.authentication.commands import SessionEnded
from services.users.authentication.dependencies import recently_authenticated
from services.users.dependencies import SettingsDep
from services.users.sessions.commands import RefreshTokenInvalid
from services.users.sessions.schemas import TokenPairView
from services.users.sessions.sign_in import RefreshTokenReused, SignInFlow, SignInFlowDep
from shared.errors import Unauthenticated
from shared.http.auth import Access, Permit
from shared.http.dependencies import SessionsDep
from shared.http.rate_limit import RateLimit
from shared.http.request_context import add_response_header
from shared.http.tokens import Principal, TokenExpired, TokenInvalid, TokenRevoked, TokenVerifier

HOME = "/account"
SIGN_IN = f"{HOME}/sign-in"
ACCESS_COOKIE = "orderly_access"
REFRESH_COOKIE = "orderly_refresh"
_OWN_PATH = re.compile(rf"{HOME}(/[a-z0-9-]+)*")
"""Paths to which a sign-in may lead. No query: none of the pages needs one, and each could hold another address."""


class SignInRequired(Unauthenticated):
    """The browser has no session, or none any more."""

    code = "sign_in_required"


@dataclass(frozen=True)
class BrowserSession:
    """A signed-in user of the pages."""

    caller: Principal

    @property
    def session_id(self) -> UUID:
        """The id of the session. Raises: SessionEnded."""
        if self.caller.session_id is None:
            raise SessionEnded
        return self.caller.session_id

    def permit(self, access: Access) -> Permit:
        """Return the caller's permit for objects of a route with this access."""
        return Permit(self.caller, access.rules)


def own_path(text: str) -> str:
    """Return a path of the pages, as it was sent; the first page for anything else, such as an address elsewhere."""
    return text if _OWN_PATH.fullmatch(text) else HOME


def redirect(path: str, **query: str) -> RedirectResponse:
    """Return the redirect that follows a form, so that a reload does not send the form again."""
    location = f"{path}?{urlencode(query)}" if query else path
    return RedirectResponse(location, 303, headers={"Cache-Control": "no-store"})


def keep_tokens(flow: SignInFlow, tokens: TokenPairView) -> None:
    """Set the cookies of a sign-in or a refresh on the response, whichever it will be."""
    lifetime = int(flow.settings.session_limits.refresh_token_lifetime.total_seconds())
    cookies = {
        ACCESS_COOKIE: (tokens.access_token, tokens.expires_in),
        REFRESH_COOKIE: (tokens.refresh_token, lifetime),
    }
    for name, (value, max_age) in cookies.items():
        _set_cookie(flow.response, name, value, max_age=max_age, request=flow.request)
    _send_cookies(flow.request, flow.response)


def drop_tokens(request: Request) -> None:
    """Remove the cookies from the browser."""
    response = Response()
    for name in (ACCESS_COOKIE, REFRESH_COOKIE):
        _set_cookie(response, name, "", max_age=0, request=request)
    _send_cookies(request, response)


def _set_cookie(response: Response, name: str, value: str, *, max_age: int, request: Request) -> None:
    response.set_cookie(
        name,
        value,
        max_age=max_age,
        path=HOME,
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )


def _send_cookies(request: Request, response: Response) -> None:
    for cookie in response.headers.getlist("set-cookie"):
        add_response_header(request, "Set-Cookie", cookie)


async def _browser_session(request: Request, flow: SignInFlowDep) -> BrowserSession:
    """Return the session of the request's cookies; refresh it if its access token has expired.

    Raises: SignInRequired, RateLimited, KeysUnavailable.
    """
    caller = await _verified(request, request.cookies.get(ACCESS_COOKIE))
    if caller is None:
        caller = await _refreshed(request, flow)
    bind_contextvars(caller_id=str(caller.user_id))

    async def key(_request: Request) -> str:
        return f"user {caller.user_id}"

    await RateLimit("default", flow.settings.rate_limit, key=key)(request)  # the API's limit, shared with its requests
    return BrowserSession(caller)


async def _verified(request: Request, access_token: str | None) -> Principal | None:
    """Return the caller of a token; None if there is none, or it needs a refresh. Raises: SignInRequired."""
    if access_token is None:
        return None
    verifier: TokenVerifier = request.app.state.token_verifier
    try:
        return await verifier.verify(access_token)
    except (TokenExpired, TokenInvalid):  # invalid: its key was withdrawn
        return None
    except TokenRevoked:
        drop_tokens(request)
        raise SignInRequired from None


async def _refreshed(request: Request, flow: SignInFlow) -> Principal:
    """Refresh the session. Two tabs may do so at once: both get the same refresh token. Raises: SignInRequired."""
    refresh_token = request.cookies.get(REFRESH_COOKIE)
    if refresh_token is None:
        raise SignInRequired
    try:
        tokens = await flow.refresh(SecretStr(refresh_token))
    except (RefreshTokenInvalid, RefreshTokenReused):
        drop_tokens(request)
        raise SignInRequired from None
    keep_tokens(flow, tokens)
    verifier: TokenVerifier = request.app.state.token_verifier
    return await verifier.verify(tokens.access_token)


Browser = Annotated[BrowserSession, Depends(_browser_session)]
"""The session of a page that needs one. Without it, the response redirects to the sign-in."""


async def _recent_browser_session(
    browser: Browser, request: Request, sessions: SessionsDep, settings: SettingsDep
) -> BrowserSession:
    """Return the session, if its user has authenticated recently. Raises: StepUpRequired, SignInRequired."""
    try:
        await recently_authenticated(browser.caller, sessions, settings)
    except SessionEnded:
        drop_tokens(request)
        raise SignInRequired from None
    return browser


RecentBrowser = Annotated[BrowserSession, Depends(_recent_browser_session)]
"""The session of a page for a sensitive change. If it is not recent, the user is asked to confirm who it is."""

"""Errors in the form of OAuth 2 (RFC 6749, section 5.2)."""

from collections.abc import Callable, Coroutine
from typing import Any

import orjson
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from services.users.credentials.authentication import CredentialsInvalid
from services.users.sessions.commands import AccountInactive, RefreshTokenInvalid
from services.users.sessions.sign_in import RefreshTokenReused
from shared.errors import Problem
from shared.http.bodies import ResponseBody

_INVALID_GRANT = (CredentialsInvalid, AccountInactive, RefreshTokenInvalid, RefreshTokenReused)
"""The problems of a password or a refresh token."""


class RequestMalformed(Problem):
    """A parameter is missing, repeated or invalid."""

    code = "invalid_request"


class GrantTypeUnsupported(Problem):
    """The grant type must be password or refresh_token."""

    code = "unsupported_grant_type"


class OAuthErrorView(ResponseBody):
    """An error of RFC 6749. Some errors come with further members."""

    error: str = Field(
        description="`invalid_request`, `invalid_grant` and `unsupported_grant_type` are those of RFC 6749. Others are "
        "the codes of this API: `second_factor_required` with `challenge` and `methods`, `too_many_attempts`, "
        "`rate_limited`.",
        examples=["invalid_grant"],
    )
    error_description: str = Field(examples=["The e-mail address or the password is wrong"])


def oauth_responses() -> dict[int | str, dict[str, Any]]:
    """Return the documentation of the errors of an OAuth route."""
    return {
        400: {"model": OAuthErrorView, "description": "The request or the grant is invalid."},
        429: {"model": OAuthErrorView, "description": "Too many requests or wrong passwords; see `Retry-After`."},
    }


class OAuthRoute(APIRoute):
    """A route whose client errors have the form of OAuth 2 instead of problem details."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler, which also covers the dependencies, such as the rate limit."""
        handle = super().get_route_handler()

        async def handle_as_oauth(request: Request) -> Response:
            try:
                return await handle(request)
            except (RequestValidationError, HTTPException):
                # The description names no value: it may be a password.
                return _error_response(RequestMalformed())
            except Problem as problem:
                if problem.status >= 500:
                    raise
                return _error_response(problem)

        return handle_as_oauth


def _error_response(problem: Problem) -> Response:
    # 401 is for clients that fail to authenticate; a wrong grant is a 400.
    status = 400 if problem.status in {401, 403} else problem.status
    error = "invalid_grant" if isinstance(problem, _INVALID_GRANT) else problem.code
    content = problem.extra | {"error": error, "error_description": problem.detail or problem.title}
    headers = {name: value for name, value in problem.headers.items() if name != "WWW-Authenticate"}
    body = orjson.dumps(content, default=str)
    return Response(body, status, headers=headers | {"Cache-Control": "no-store"}, media_type="application/json")

"""CORS: which web pages of other origins may call the API. None may unless the settings name them."""

from collections.abc import Collection

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from shared.errors import Forbidden
from shared.http.problems import problem_response

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
REQUEST_HEADERS = (
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "X-Request-Id",
    "traceparent",
    "tracestate",
)
RESPONSE_HEADERS = (
    "ETag",
    "Idempotency-Replayed",
    "Link",
    "Location",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "WWW-Authenticate",
    "X-Request-Id",
)
"""Headers that scripts may read, beside those that every browser shows them."""


class CorsRefused(Forbidden):
    """Pages of this origin may not send such a request."""

    code = "cors_refused"


class _RefusedPreflight(Response):
    """The response to a preflight request that is refused."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await problem_response(CorsRefused(), scope=scope)(scope, receive, send)


class _CorsMiddleware(CORSMiddleware):
    """Starlette's middleware, which refuses in plain text."""

    def preflight_response(self, request_headers: Headers) -> Response:
        """Return the response to a preflight request."""
        response = super().preflight_response(request_headers)
        return response if response.status_code == 200 else _RefusedPreflight()


def allow_origins(app: FastAPI, origins: Collection[str]) -> None:
    """Allow pages of these origins to call the API. Add it last: it then adds its headers to every error too.

    Access tokens are sent as a header, so that no cookies are needed, and no `Access-Control-Allow-Credentials`.
    """
    if origins:
        app.add_middleware(
            _CorsMiddleware,
            allow_origins=sorted(origins),
            allow_methods=METHODS,
            allow_headers=REQUEST_HEADERS,
            expose_headers=RESPONSE_HEADERS,
        )

"""Known devices: the cookie with the token that a device holds, and how long it is known."""

from datetime import timedelta

from fastapi import Request, Response

COOKIE = "orderly_device"
COOKIE_PATH = "/"
KNOWN_FOR = timedelta(days=180)
"""Time for which a device is known after its last sign-in."""
MAX_KNOWN_DEVICES = 20
"""Devices that an account keeps: those it has used last."""


def token_of(request: Request) -> str | None:
    """Return the token that the request's cookie holds."""
    return request.cookies.get(COOKIE)


def set_cookie(response: Response, token: str, *, request: Request) -> None:
    """Let the device keep its token. It is no credential: it only exempts from delays that others have caused."""
    response.set_cookie(
        COOKIE,
        token,
        max_age=int(KNOWN_FOR.total_seconds()),
        path=COOKIE_PATH,
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )

"""Known devices: the random token that a device holds, its cookie, and when it is new."""

import hashlib
import secrets
from datetime import timedelta

from fastapi import Request, Response

COOKIE = "orderly_device"
COOKIE_PATH = "/"
KNOWN_FOR = timedelta(days=180)
"""Time for which a device is known after its last sign-in."""
MAX_KNOWN_DEVICES = 20
"""Devices that an account keeps: those it has used last."""


def new_token() -> str:
    """Return a random token for a device."""
    return secrets.token_urlsafe(32)


def hash_of(token: str) -> bytes:
    """Return what is stored of a token. SHA-256 without a salt is enough: 256 random bits can't be guessed."""
    return hashlib.sha256(token.encode()).digest()


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

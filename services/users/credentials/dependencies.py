"""Dependencies of routes that take passwords."""

from typing import Annotated

from fastapi import Depends, Request

from services.users.credentials.passwords import Passwords
from services.users.credentials.throttling import SignInThrottle


async def _passwords(request: Request) -> Passwords:
    passwords: Passwords = request.app.state.passwords
    return passwords


async def _sign_in_throttle(request: Request) -> SignInThrottle:
    throttle: SignInThrottle = request.app.state.sign_in_throttle
    return throttle


PasswordsDep = Annotated[Passwords, Depends(_passwords)]
SignInThrottleDep = Annotated[SignInThrottle, Depends(_sign_in_throttle)]

"""Dependencies of routes: who may call them, and what the application provides."""

from typing import Annotated

from fastapi import Depends, Request

from services.users.access_tokens import AccessTokens
from services.users.passwords import Passwords
from services.users.settings import Settings
from services.users.throttling import SignInThrottle


async def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


async def _passwords(request: Request) -> Passwords:
    passwords: Passwords = request.app.state.passwords
    return passwords


async def _access_tokens(request: Request) -> AccessTokens:
    access_tokens: AccessTokens = request.app.state.access_tokens
    return access_tokens


async def _sign_in_throttle(request: Request) -> SignInThrottle:
    throttle: SignInThrottle = request.app.state.sign_in_throttle
    return throttle


SettingsDep = Annotated[Settings, Depends(_settings)]
PasswordsDep = Annotated[Passwords, Depends(_passwords)]
AccessTokensDep = Annotated[AccessTokens, Depends(_access_tokens)]
SignInThrottleDep = Annotated[SignInThrottle, Depends(_sign_in_throttle)]

"""Access to the console of `make run`: everybody on this machine, since they can read the admin's password file."""

import asyncio
import json
from pathlib import Path

from fastapi import Request
from joserfc import jws

from deploy.console.access.operator import Operator
from deploy.console.access.tokens import TokenPair, refresh, sign_in
from deploy.console.services import Services
from shared.errors import Forbidden, Problem

_OWN_HOSTS = {"localhost", "127.0.0.1", "::1"}


class ForeignHost(Forbidden):
    """Open the console at its loopback address."""

    code = "foreign_host"


class LocalAccess:
    """Signs in as the local admin, at the first request that needs it, and keeps the session fresh."""

    def __init__(self, services: Services, *, email: str, password_file: Path) -> None:
        self._services = services
        self._email = email
        self._password_file = password_file
        self._tokens: TokenPair | None = None
        self._lock = asyncio.Lock()

    async def operator_of(self, request: Request) -> Operator:
        """Return the local admin. Raises: ForeignHost for another host name that leads here; Problem."""
        if request.url.hostname not in _OWN_HOSTS:
            raise ForeignHost
        token = await self._token()
        return Operator(user_id=_subject_of(token), token=token, is_local=True)

    async def close(self) -> None:
        """Do nothing: no task runs in the background."""

    async def _token(self) -> str:
        async with self._lock:
            if self._tokens is None or not self._tokens.is_fresh:
                self._tokens = await self._next(self._tokens)
            return self._tokens.access_token

    async def _next(self, tokens: TokenPair | None) -> TokenPair:
        if tokens is not None:
            try:
                return await refresh(self._services, tokens.refresh_token)
            except Problem:
                self._tokens = None  # the session has ended, for example after a password change
        password = self._password_file.read_text(encoding="utf-8").strip()
        return await sign_in(self._services, email=self._email, password=password)


def _subject_of(token: str) -> str:
    """Return the user id in a token that the users service has just sent."""
    subject: str = json.loads(jws.extract_compact(token.encode()).payload)["sub"]
    return subject

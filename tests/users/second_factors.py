"""A signed-in user, and what the user does with second factors."""

import time
from dataclasses import dataclass
from typing import Any

import httpx2
import pyotp
import sqlalchemy as sa

from tests.harness.authenticator import Authenticator
from tests.users.service import ADA, PASSWORD, UsersService, bearer


@dataclass
class User:
    """Ada, signed in."""

    service: UsersService
    header: dict[str, str]
    id: str
    secret: str = ""
    """The secret of the authenticator app."""
    recovery_codes: tuple[str, ...] = ()
    first_step: int = 0
    used_steps: int = 0

    async def call(self, method: str, path: str, body: Any = None) -> httpx2.Response:
        return await self.service.http.request(method, f"/v1/users/me{path}", json=body, headers=self.header)

    def code(self) -> str:
        """Return a code that was not used before. The first two of a test are accepted."""
        self.first_step = self.first_step or int(time.time()) // 30
        self.used_steps += 1
        return pyotp.TOTP(self.secret).generate_otp(self.first_step + self.used_steps - 1)

    def wrong_code(self) -> str:
        return pyotp.TOTP(self.secret).generate_otp(int(time.time()) // 30 + 100)

    async def add_totp(self) -> httpx2.Response:
        self.secret = (await self.call("POST", "/totp")).json()["secret"]
        response = await self.call("POST", "/totp/confirmation", {"code": self.code()})
        assert response.status_code == 200, response.text
        self._keep(response.json()["recovery_codes"])
        return response

    async def add_passkey(self, authenticator: Authenticator | None = None, *, name: str = "Phone") -> Authenticator:
        authenticator = authenticator or Authenticator()
        response = await self.register(authenticator, name=name)
        assert response.status_code == 201, response.text
        self._keep(response.json()["recovery_codes"])
        return authenticator

    async def register(self, authenticator: Authenticator, *, name: str = "Phone") -> httpx2.Response:
        options = (await self.call("POST", "/passkeys/options")).json()["public_key"]
        return await self.call("POST", "/passkeys", {"name": name, "credential": authenticator.create(options)})

    async def methods(self) -> dict[str, Any]:
        body: dict[str, Any] = (await self.call("GET", "/sign-in-methods")).json()
        return body

    async def sign_in(self) -> httpx2.Response:
        body = {"email": ADA["email"], "password": PASSWORD}
        return await self.service.http.post("/v1/sessions", json=body)

    async def challenge(self) -> str:
        challenge: str = (await self.sign_in()).json()["challenge"]
        return challenge

    async def answer(self, challenge: str, **proof: Any) -> httpx2.Response:
        return await self.service.http.post("/v1/sessions/second-factor", json={"challenge": challenge, **proof})

    async def assertion(self, authenticator: Authenticator) -> dict[str, Any]:
        options = (await self.service.http.post("/v1/sessions/passkey/options")).json()["public_key"]
        return authenticator.get(options)

    async def sign_in_with(self, authenticator: Authenticator) -> httpx2.Response:
        body = {"credential": await self.assertion(authenticator)}
        return await self.service.http.post("/v1/sessions/passkey", json=body)

    async def step_up(self, **proof: Any) -> httpx2.Response:
        return await self.service.http.post("/v1/sessions/step-up", json=proof, headers=self.header)

    async def session_ages(self, minutes: int = 11) -> None:
        """Let the sign-in of every session be so long ago."""
        await self.execute("UPDATE user_session SET authenticated_at = now() - make_interval(mins => :n)", n=minutes)

    async def execute(self, statement: str, **values: Any) -> None:
        async with self.service.sessions.begin() as session:
            await session.execute(sa.text(statement), values)

    async def record(self) -> list[tuple[str, dict[str, Any]]]:
        """Return kinds and details of the security record, from when the user was signed in."""
        async with self.service.sessions() as session:
            rows = await session.execute(
                sa.text("SELECT kind, details FROM security_event WHERE kind <> ALL(:earlier) ORDER BY id"),
                {"earlier": ["account_created", "signed_in"]},
            )
            return [(row.kind, row.details) for row in rows]

    def _keep(self, recovery_codes: list[str] | None) -> None:
        if recovery_codes is not None:
            self.recovery_codes = tuple(recovery_codes)


async def signed_in_user(service: UsersService) -> User:
    """Sign Ada up and in."""
    user = await service.sign_up()
    return User(service, bearer(await service.sign_in()), user["id"])

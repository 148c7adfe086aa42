"""A small workload that contends: concurrent changes of one version, repeated keys, and reads right after the answers.

It runs beside the demo's orders, so that the history has something to judge.
"""

import asyncio
import random
import secrets
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import httpx2

from deploy.local.credentials import ADMIN_EMAIL
from tests.chaos.histories.history import Answer
from tests.chaos.histories.recorder import Recorder, answer_of

PRICE_CENTS = 1_000
STOCK = 1_000_000
LIMITS_CENTS = (20 * PRICE_CENTS, 5 * PRICE_CENTS)
"""The credit limit of each user. The second one is reached soon, so that orders compete for what is released."""
MAX_QUANTITY = 3
CANCELLED_SHARE = 0.7
"""Orders that are cancelled, each by two requests at once."""
TIMEOUT_SECONDS = 15.0
RETRY_DELAY_SECONDS = 0.5
SET_UP_TIMEOUT_SECONDS = 60.0


class SetUpFailed(Exception):
    """The users and products of the workload could not be created."""


@dataclass
class Session:
    """One client of one user, with connections of its own. It repeats nothing by itself."""

    http: httpx2.AsyncClient
    address_of: Callable[[str], str]
    """Returns the URL of the server that serves a path."""
    token: str = ""

    async def send(
        self, method: str, path: str, *, json: Mapping[str, Any] | None = None, key: str | None = None, version: int = 0
    ) -> Answer | None:
        """Send one request; return None without an answer. `version`: the If-Match, if there is one."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        if key is not None:
            headers["Idempotency-Key"] = key
        if version:
            headers["If-Match"] = f'"{version}"'
        try:
            response = await self.http.request(method, self.address_of(path) + path, json=json, headers=headers)
        except httpx2.TransportError:
            return None
        self._keep_token(path, response)
        return answer_of(response)

    async def sign_in(self, email: str, password: str) -> None:
        """Get an access token."""
        await self.succeed("POST", "/v1/sessions", json={"email": email, "password": password})

    async def succeed(self, method: str, path: str, **request: Any) -> Answer:
        """Repeat a request of the set-up until it succeeds. Raises: SetUpFailed."""
        answer: Answer | None = None
        async with asyncio.timeout(SET_UP_TIMEOUT_SECONDS):
            while answer is None or answer.status in (404, 429) or answer.status >= 500:
                answer = await self.send(method, path, **request)
        if answer.status >= 400:
            raise SetUpFailed(f"{method} {path}: {answer.status} {answer.code}")
        return answer

    async def version_of(self, path: str) -> int:
        """Read a resource, and return its version; 0 if that is unknown."""
        answer = await self.send("GET", path)
        return answer.version or 0 if answer is not None and answer.status == 200 else 0

    def _keep_token(self, path: str, response: httpx2.Response) -> None:
        if path == "/v1/sessions" and response.status_code == 201:
            self.token = response.json()["access_token"]


@dataclass
class Contender:
    """A user, who has two clients that change the same things, and a third that reads."""

    user_id: str
    changing: tuple[Session, Session]
    reading: Session


@dataclass
class Contention:
    """The workload. Its sessions are recorded by `recorder`."""

    recorder: Recorder
    address_of: Callable[[str], str]
    admin_password: str
    seed: int
    tag: str = field(default_factory=lambda: secrets.token_hex(4))
    """Part of this run's addresses, keys and SKUs, so that two runs share none."""
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    _admins: list[Session] = field(default_factory=list)
    _contenders: list[Contender] = field(default_factory=list)
    _skus: list[str] = field(default_factory=list)
    _names: int = 0

    async def set_up(self) -> None:
        """Create the users and the products. Raises: SetUpFailed, TimeoutError."""
        for name in ("admin-1", "admin-2"):
            self._admins.append(await self._session(name))
        await asyncio.gather(*(admin.sign_in(ADMIN_EMAIL, self.admin_password) for admin in self._admins))
        for number, limit_cents in enumerate(LIMITS_CENTS, start=1):
            self._contenders.append(await self._contender(number, limit_cents=limit_cents))
            sku = f"CONTENDED-{self.tag}-{number}"
            body = {"sku": sku, "name": sku, "price_cents": PRICE_CENTS, "currency": "GBP", "stock": STOCK}
            await self._admins[0].succeed("POST", "/v1/products", json=body, key=f"{self.tag}-{sku}")
            self._skus.append(sku)

    async def close(self) -> None:
        """Close all connections."""
        await self._stack.aclose()

    async def run(self, *, interval_seconds: float, rounds: int | None = None) -> None:
        """Run round after round, until cancelled or for so many rounds."""
        rng = random.Random(self.seed)  # noqa: S311 - reproducible by its seed
        done = 0
        while rounds is None or done < rounds:
            work: list[Awaitable[None]] = [self._change_product(sku, rng=rng) for sku in self._skus]
            for contender in self._contenders:
                work += [self._change_profile(contender), self._order(contender, rng=rng)]
            await asyncio.gather(*work)
            done += 1
            await asyncio.sleep(interval_seconds)

    async def read_everything(self) -> None:
        """Read each user and product once more, when the faults have ended."""
        for contender in self._contenders:
            await contender.reading.send("GET", "/v1/users/me")
            await contender.reading.send("GET", "/v1/users/me/credit")
            await contender.reading.send("GET", "/v1/orders?limit=100")
        for sku in self._skus:
            await self._admins[0].send("GET", f"/v1/products/{sku}")

    async def _change_profile(self, contender: Contender) -> None:
        """Let two clients change one version of a profile, then read it."""
        path, admin = "/v1/users/me", self._admins[0]
        if not (version := await contender.reading.version_of(path)):
            return
        await asyncio.gather(
            *(
                session.send("PATCH", path, json={"name": self._name()}, version=version)
                for session in contender.changing
            ),
            contender.reading.send("GET", path),
        )
        await asyncio.gather(contender.reading.send("GET", path), admin.send("GET", f"/v1/users/{contender.user_id}"))

    async def _change_product(self, sku: str, *, rng: random.Random) -> None:
        """Let two clients change one version of a product, then read it. The first read fills the cache."""
        path, buyer = f"/v1/products/{sku}", self._contenders[0].reading
        if not (version := await self._admins[0].version_of(path)):
            return
        prices = rng.sample(range(PRICE_CENTS // 2, PRICE_CENTS), k=len(self._admins))
        await asyncio.gather(
            *(
                admin.send("PATCH", path, json={"name": self._name(), "price_cents": price}, version=version)
                for admin, price in zip(self._admins, prices, strict=True)
            ),
            buyer.send("GET", path),
        )
        await asyncio.gather(buyer.send("GET", path), self._admins[1].send("GET", path))

    async def _order(self, contender: Contender, *, rng: random.Random) -> None:
        """Place one order by two connections and read it; repeat its key; let two clients cancel one version of it."""
        first, second = contender.changing
        body = {"items": [{"sku": rng.choice(self._skus), "quantity": rng.randint(1, MAX_QUANTITY)}]}
        is_cancelled, key = rng.random() < CANCELLED_SHARE, self._name().replace(" ", "-")
        answers = await asyncio.gather(
            *(session.send("POST", "/v1/orders", json=body, key=key) for session in contender.changing)
        )
        placed = next((one for one in answers if one is not None and one.status == 201), None)
        if placed is None:
            await asyncio.sleep(RETRY_DELAY_SECONDS)
            placed = await first.send("POST", "/v1/orders", json=body, key=key)
        if placed is None or placed.status != 201:
            return
        path = f"/v1/orders/{placed.body['id']}"
        await asyncio.gather(
            contender.reading.send("GET", path),
            contender.reading.send("GET", "/v1/orders?limit=100"),
            self._admins[1].send("GET", path),
            contender.reading.send("GET", "/v1/users/me/credit"),
            second.send("POST", "/v1/orders", json=body, key=key),
        )
        if is_cancelled and (version := await contender.reading.version_of(path)):
            await asyncio.gather(
                *(session.send("POST", f"{path}/cancel", version=version) for session in (first, self._admins[0])),
                contender.reading.send("GET", path),
            )
            await contender.reading.send("GET", path)

    async def _contender(self, number: int, *, limit_cents: int) -> Contender:
        sessions = [await self._session(f"user-{number}-{role}") for role in ("a", "b", "reading")]
        email, password = f"contender-{number}.{self.tag}@example.com", secrets.token_urlsafe(16)
        body = {"email": email, "name": f"Contender {number}", "password": password}
        path = "/v1/users/verified"
        created = await self._admins[0].succeed("POST", path, json=body, key=f"{self.tag}-{number}")
        user_id = str(created.body["id"])
        await self._admins[0].succeed("PUT", f"/v1/users/{user_id}/credit-limit", json={"limit_cents": limit_cents})
        for session in sessions:
            await session.sign_in(email, password)
        return Contender(user_id, (sessions[0], sessions[1]), sessions[2])

    async def _session(self, name: str) -> Session:
        http = self.recorder.client(name, timeout_seconds=TIMEOUT_SECONDS)
        await self._stack.enter_async_context(http)
        return Session(http, self.address_of)

    def _name(self) -> str:
        """Return a name that no other change has."""
        self._names += 1
        return f"Name {self.tag} {self._names}"

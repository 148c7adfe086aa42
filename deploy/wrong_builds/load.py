"""The load of a comparison: orders of a pool of accounts at a steady rate, some of which are cancelled."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import httpx2

from deploy.demo.accounts import Account, set_credit_limit, signed_in_admin
from deploy.demo.client import Answer, Client, RequestFailed
from deploy.wrong_builds.build import Build

ACCOUNTS = 10
"""Customers who take turns. Raised, fewer orders of one customer wait at once; lowered, the start is quicker."""
CREDIT_CENTS = 100_000_000
CANCEL_EVERY = 5
"""Every fifth order is cancelled soon after it was placed."""
CANCEL_AFTER_SECONDS = 2.0
MAX_OPEN_REQUESTS = 20
"""Orders that are under way at once. While a service is away, no more are placed."""
REQUEST_TIMEOUT_SECONDS = 15.0
"""Time after which a request counts as failed, its retries included."""


class OrderLoad:
    """Places orders at one build, and records which of them were accepted."""

    def __init__(self, *, users: Client, orders: Client, skus: Sequence[str]) -> None:
        self.accepted: dict[str, float] = {}
        """The times of the loop at which orders were answered with 201, by id. No other order was promised."""
        self.failed = 0
        self._users = users
        self._orders = orders
        self._skus = skus
        self._accounts: list[Account] = []
        self._run = secrets.token_hex(4)
        self._slots = asyncio.Semaphore(MAX_OPEN_REQUESTS)

    async def sign_up(self, admin_password: str) -> None:
        """Make the accounts, with credit for all orders. Raises: RequestFailed."""
        admin = await signed_in_admin(self._users, password=admin_password)
        password = secrets.token_urlsafe(16)
        self._accounts = [Account(f"load-{number}+{self._run}@example.com", password) for number in range(ACCOUNTS)]
        await asyncio.gather(*(self._make(account, admin) for account in self._accounts))

    async def run(self, *, orders_per_second: float) -> None:
        """Place orders until it is cancelled."""
        loop, number = asyncio.get_running_loop(), 0
        began_at = loop.time()
        async with asyncio.TaskGroup() as group:
            while True:
                await self._slots.acquire()
                group.create_task(self._place(number))
                number += 1
                await asyncio.sleep(max(0.0, began_at + number / orders_per_second - loop.time()))

    async def _make(self, account: Account, admin: Account) -> None:
        body = {"email": account.email, "password": account.password, "name": "Load", "locale": "en"}
        key = account.email.partition("@")[0].replace("+", "-")
        made = await admin.send(self._users, "POST", "/v1/users/verified", json=body, key=key)
        if not made.is_success:
            raise RequestFailed(f"the account {account.email} could not be made: {made.status} {made.code}")
        account.user_id = made.body["id"]
        await set_credit_limit(self._users, account, limit_cents=CREDIT_CENTS, admin=admin)
        await account.sign_in(self._users)

    async def _place(self, number: int) -> None:
        account = self._accounts[number % len(self._accounts)]
        body = {"items": [{"sku": self._skus[number % len(self._skus)], "quantity": 1}]}
        try:
            answer = await self._send(account, "/v1/orders", json=body, key=f"{self._run}-{number}")
            if answer.status != 201:
                self.failed += 1
                return
            order_id: str = answer.body["id"]
            self.accepted[order_id] = asyncio.get_running_loop().time()
            if number % CANCEL_EVERY == 0:
                await asyncio.sleep(CANCEL_AFTER_SECONDS)
                await self._send(account, f"/v1/orders/{order_id}/cancel")
        except RequestFailed:
            self.failed += 1
        finally:
            self._slots.release()

    async def _send(
        self, account: Account, path: str, *, json: Mapping[str, object] | None = None, key: str | None = None
    ) -> Answer:
        """Send a request to orders; sign in at users if the token has expired."""
        answer = await self._orders.send("POST", path, token=account.token, json=json, key=key)
        if answer.code == "token_expired":
            await account.sign_in(self._users)
            answer = await self._orders.send("POST", path, token=account.token, json=json, key=key)
        return answer


@asynccontextmanager
async def order_load(build: Build, *, skus: Sequence[str]) -> AsyncIterator[OrderLoad]:
    """Yield the load of a build, with connections to its services."""
    async with (
        httpx2.AsyncClient(base_url=build.urls["users"], timeout=REQUEST_TIMEOUT_SECONDS) as users,
        httpx2.AsyncClient(base_url=build.urls["orders"], timeout=REQUEST_TIMEOUT_SECONDS) as orders,
    ):
        yield OrderLoad(
            # Hashing the passwords of all accounts takes seconds on a busy machine.
            users=Client(users),
            orders=Client(orders, timeout_seconds=REQUEST_TIMEOUT_SECONDS),
            skus=skus,
        )

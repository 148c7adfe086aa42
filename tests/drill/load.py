"""Customers and the shop at work. Requests may fail: databases are gone, or know less than before."""

import asyncio
import random
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from deploy.demo.accounts import Account, signed_in_admin
from deploy.demo.client import Answer, Client, RequestFailed

CUSTOMERS = 6
SHOP_CLERKS = 2
INTERVAL_SECONDS = 0.4
REQUEST_SECONDS = 10.0
"""Time for a request with its repetitions. Then the customer goes on with the next one."""


@dataclass
class Load:
    """The people of the drill. `answers` counts the answers by request and status."""

    client: Client
    admin: Account
    skus: Sequence[str]
    rng: random.Random
    answers: Counter[str] = field(default_factory=Counter)
    _orders: list[tuple[Account, str]] = field(default_factory=list)

    async def customer(self) -> None:
        """Sign up, place orders and cancel some, and begin again as somebody else."""
        while True:
            account = await self._sign_up()
            for _ in range(self.rng.randrange(10, 30) if account else 0):
                await self._place(account)  # type: ignore[arg-type]  # the loop is empty without an account
                await asyncio.sleep(self.rng.uniform(0.5, 1.5) * INTERVAL_SECONDS)
            await asyncio.sleep(INTERVAL_SECONDS)

    async def clerk(self) -> None:
        """Ship, deliver and refund orders, some of them too early."""
        while True:
            await asyncio.sleep(INTERVAL_SECONDS)
            if not self._orders:
                continue
            _, order_id = self._orders.pop(self.rng.randrange(len(self._orders)))
            shipped = await self._send(self.admin, "ship", f"/v1/orders/{order_id}/ship")
            if shipped is None or not shipped.is_success or self.rng.random() < 0.5:
                continue
            await self._send(self.admin, "deliver", f"/v1/orders/{order_id}/deliver")
            refund = {"amount_cents": 1, "reason": "Arrived broken."}
            await self._send(self.admin, "refund", f"/v1/orders/{order_id}/refunds", json=refund)

    async def _sign_up(self) -> Account | None:
        account = Account(f"drill-{secrets.token_hex(6)}@example.com", secrets.token_urlsafe(16))
        body = {"email": account.email, "password": account.password, "name": "Drill", "locale": "en"}
        answer = await self._send(self.admin, "sign up", "/v1/users/verified", json=body)
        if answer is None or not answer.is_success:
            return None
        try:
            await account.sign_in(self.client)
        except RequestFailed:
            return None
        account.user_id = answer.body["id"]
        return account

    async def _place(self, account: Account) -> None:
        items = [{"sku": sku, "quantity": self.rng.randrange(1, 4)} for sku in self.rng.sample(self.skus, k=2)]
        answer = await self._send(account, "place", "/v1/orders", json={"items": items})
        if answer is None or not answer.is_success:
            return
        if self.rng.random() < 0.2:
            await self._send(account, "cancel", f"/v1/orders/{answer.body['id']}/cancel")
        else:
            self._orders.append((account, answer.body["id"]))

    async def _send(self, account: Account, name: str, path: str, **request: Any) -> Answer | None:
        """Send a request, and return its answer; None if it got none."""
        key = secrets.token_hex(8)
        try:
            answer = await account.send(self.client, "POST", path, key=key, **request)
        except RequestFailed:
            self.answers[f"{name}: no answer"] += 1
            return None
        self.answers[f"{name}: {answer.status}"] += 1
        return answer


@asynccontextmanager
async def working(client: Client, *, admin_password: str, seed: int) -> AsyncIterator[Load]:
    """Let the people work until the end of the block."""
    admin = await signed_in_admin(client, password=admin_password)
    products = [product async for product in admin.read_all(client, "/v1/products")]
    skus = [product["sku"] for product in products if product["active"] and product["currency"] == "GBP"]
    load = Load(client, admin, skus, random.Random(seed))  # noqa: S311 - reproducible by its seed
    people = [load.customer() for _ in range(CUSTOMERS)] + [load.clerk() for _ in range(SHOP_CLERKS)]
    tasks = [asyncio.create_task(work) for work in people]
    try:
        yield load
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        for error in ended:
            if isinstance(error, Exception):
                raise error

"""Customers whose whole story is checked while the versions change: every request may go to either version."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from deploy.demo.client import Answer, RequestFailed
from deploy.local.credentials import ADMIN_EMAIL
from tests.chaos.upgrade.direct_client import DirectClient
from tests.harness.waiting import until

EFFECT_TIMEOUT_SECONDS = 60.0
"""Time for an event or a job to have its effect: a killed process's partitions are taken over after 10 s."""
POLL_SECONDS = 0.25
DELAY_SECONDS = 0.5
QUANTITY = 2
REFUND_CENTS = 100
NOTIFIED = ("user.created", "order.confirmed", "order.shipped", "order.delivered", "order.refunded")
"""The events of a journey that notify its customer."""


@dataclass
class Journeys:
    """Makes one journey after the other, each with a customer and a product of its own."""

    client: DirectClient
    admin_password: str
    count: int = 0
    """Journeys that came to their end."""
    violations: list[str] = field(default_factory=list)
    stale_reads: list[tuple[datetime, str]] = field(default_factory=list)
    """A sentence for each wrong value of a product, and when it was read."""

    async def run(self, stop: asyncio.Event) -> None:
        """Make journeys until `stop` is set, and finish the last one."""
        while not stop.is_set():
            try:
                await self._travel(f"{self.count}-{secrets.token_hex(3)}")
            except (RequestFailed, AssertionError, KeyError) as error:
                self.violations.append(f"{type(error).__name__}: {error}")
            self.count += 1
            await asyncio.sleep(DELAY_SECONDS)

    async def _travel(self, tag: str) -> None:
        admin = await self._signed_in(ADMIN_EMAIL, self.admin_password)
        sku, price_cents = await self._changed_product(tag, admin=admin)
        email, password = f"journey-{tag}@example.com", secrets.token_urlsafe(12)
        new_user = {"email": email, "password": password, "name": f"Journey {tag}", "locale": "en"}
        path = "/v1/users/verified"
        user = _made(await self.client.send("users", "POST", path, json=new_user, token=admin, key=f"user-{tag}"))
        token = await self._signed_in(email, password)

        order_id = await self._placed_once(sku, total_cents=QUANTITY * price_cents, tag=tag, token=token)
        await self._wait_for(f"order {order_id} is confirmed", self._has_status(order_id, "confirmed", token=token))
        for action, status in (("ship", "shipped"), ("deliver", "delivered")):
            answer = await self.client.send("orders", "POST", f"/v1/orders/{order_id}/{action}", token=admin)
            # If the request was repeated, an earlier try may have moved the order.
            assert answer.is_success or answer.body.get("from") == status, f"{action}: {_described(answer)}"
        refund = {"amount_cents": REFUND_CENTS, "reason": "Arrived broken."}
        path = f"/v1/orders/{order_id}/refunds"
        _made(await self.client.send("orders", "POST", path, json=refund, token=admin, key=f"refund-{tag}"))

        await self._renamed(user, f"Renamed {tag}", order_id=order_id, token=token, admin=admin)
        await self._wait_for(f"customer {user['id']} is notified of every step", lambda: self._is_notified(token=token))
        await self._republished(order_id, tag=tag, token=token, admin=admin)

    async def _signed_in(self, email: str, password: str) -> str:
        credentials = {"email": email, "password": password}
        return str(_made(await self.client.send("users", "POST", "/v1/sessions", json=credentials))["access_token"])

    async def _changed_product(self, tag: str, *, admin: str) -> tuple[str, int]:
        """Make a product, let each version cache it, change its price; every version must then show the new price."""
        sku, path = f"JOURNEY-{tag.upper()}", f"/v1/products/JOURNEY-{tag.upper()}"
        product = {"sku": sku, "name": f"Journey {tag}", "description": "", "price_cents": 500, "currency": "GBP"}
        new = {**product, "stock": 1_000}
        _made(await self.client.send("orders", "POST", "/v1/products", json=new, token=admin, key=f"product-{tag}"))
        for price_cents, version in ((700, 1), (900, 2)):
            await self._read_product(path, {**product, "price_cents": 500 if version == 1 else 700})
            change = {"price_cents": price_cents}
            answer = await self.client.send("orders", "PATCH", path, json=change, token=admin, if_match=version)
            # After a lost answer, the repeated request is a 412. The change is made, perhaps without its invalidation.
            assert answer.is_success or answer.code == "precondition_failed", f"PATCH {path}: {_described(answer)}"
            if not answer.is_success:
                return sku, price_cents
        await self._read_product(path, {**product, "price_cents": 900})
        return sku, 900

    async def _read_product(self, path: str, expected: dict[str, Any]) -> None:
        """Read a product twice at every instance: from the database and, then or at once, from the cache."""
        for _ in range(2):
            for instance, answer in await self.client.send_to_each("orders", "GET", path):
                found = {name: answer.body.get(name) for name in expected}
                if found != expected:
                    wrong = {name: value for name, value in found.items() if value != expected[name]}
                    sentence = f"{instance.name}: GET {path} returned {wrong}, expected {expected}"
                    self.stale_reads.append((datetime.now(UTC), sentence))

    async def _placed_once(self, sku: str, *, total_cents: int, tag: str, token: str) -> str:
        """Place an order, and repeat the request at every instance: all must return the one order."""
        request = {"json": {"items": [{"sku": sku, "quantity": QUANTITY}]}, "token": token, "key": f"order-{tag}"}
        order = _made(await self.client.send("orders", "POST", "/v1/orders", **request))
        assert order["total_cents"] == total_cents, f"order {order['id']}: {order['total_cents']}, not {total_cents}"
        for instance, answer in await self.client.send_to_each("orders", "POST", "/v1/orders", **request):
            if answer.body != order:
                self.violations.append(f"{instance.name}: order {order['id']} repeated: {_described(answer)}")
        return str(order["id"])

    async def _renamed(self, user: dict[str, Any], name: str, *, order_id: str, token: str, admin: str) -> None:
        """Change the customer's name, and wait until the replica of the orders service has it."""
        me = "/v1/users/me"
        answer = await self.client.send("users", "PATCH", me, json={"name": name}, token=token, if_match=1)
        assert answer.is_success or answer.code == "precondition_failed", f"PATCH {me}: {_described(answer)}"

        async def is_replicated() -> bool:
            answer = await self.client.send("orders", "GET", f"/v1/orders/{order_id}", token=admin)
            return (_made(answer)["customer"] or {}).get("name") == name

        await self._wait_for(f"orders has the new name of user {user['id']}", is_replicated)

    async def _republished(self, order_id: str, *, tag: str, token: str, admin: str) -> None:
        """Republish the latest orders by a job, which a process of either version may run."""
        order = _made(await self.client.send("orders", "GET", f"/v1/orders/{order_id}", token=token))
        body = {"types": ["orders"], "since": min(order["updated_at"], datetime.now(UTC).isoformat())}
        path = "/v1/operations/orders/republications"
        operation = _made(await self.client.send("orders", "POST", path, json=body, token=admin, key=f"again-{tag}"))

        async def is_done() -> bool:
            answer = await self.client.send("orders", "GET", f"{path}/{operation['id']}", token=admin)
            return bool(_made(answer)["status"] == "done")

        await self._wait_for(f"republication {operation['id']} is done", is_done)

    def _has_status(self, order_id: str, status: str, *, token: str) -> Callable[[], Awaitable[bool]]:
        async def has_status() -> bool:
            answer = await self.client.send("orders", "GET", f"/v1/orders/{order_id}", token=token)
            return bool(_made(answer)["status"] == status)

        return has_status

    async def _is_notified(self, *, token: str) -> bool:
        answer = await self.client.send("notifications", "GET", "/v1/notifications", token=token)
        return sorted(each["event_type"] for each in _made(answer)["items"]) == sorted(NOTIFIED)

    async def _wait_for(self, what: str, condition: Callable[[], Awaitable[bool]]) -> None:
        await until(condition, seconds=EFFECT_TIMEOUT_SECONDS, poll_seconds=POLL_SECONDS, what=what)


def _made(answer: Answer) -> dict[str, Any]:
    """Return the body of a success. Raises: AssertionError."""
    assert answer.is_success, _described(answer)
    return answer.body


def _described(answer: Answer) -> str:
    return f"got {answer.status} {answer.code} {answer.body.get('detail') or ''}".strip()

"""The shop's part: ship, deliver and refund some of the orders."""

import asyncio
from typing import Any

from deploy.demo.accounts import Account
from deploy.demo.client import Client
from deploy.demo.request_log import RequestKind, RequestLog

POLL_SECONDS = 0.5
SHIP_EVERY, DELIVER_EVERY, REFUND_IN_FULL_EVERY = 5, 10, 20
"""Intervals in the list of confirmed orders. Each delivered order is refunded, half of them in full."""


class Fulfilment:
    """Works on a run's orders as the admin, and records the answers in `log`."""

    def __init__(self, client: Client, *, admin: Account, run: str, log: RequestLog) -> None:
        self._client = client
        self._admin = admin
        self._run = run
        self._log = log

    async def wait_until_decided(self, *, timeout_seconds: float) -> None:
        """Wait until no order is pending, or until the timeout: an invariant then names those that are."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_seconds
        while True:
            if not await self._own_orders("pending") or loop.time() > deadline:
                return
            await asyncio.sleep(POLL_SECONDS)

    async def fulfil_some(self, *, concurrency: int) -> None:
        """Ship every fifth confirmed order; deliver and refund every second one of those."""
        slots = asyncio.Semaphore(concurrency)

        async def fulfil_one(order: dict[str, Any], position: int) -> None:
            async with slots:
                await self._fulfil(order, position=position)

        async with asyncio.TaskGroup() as group:
            for position, order in enumerate(await self._own_orders("confirmed")):
                if position % SHIP_EVERY == 0:
                    group.create_task(fulfil_one(order, position))

    async def _fulfil(self, order: dict[str, Any], *, position: int) -> None:
        await self._move(order["id"], "ship", "shipped", RequestKind.SHIPMENT)
        if position % DELIVER_EVERY:
            return
        await self._move(order["id"], "deliver", "delivered", RequestKind.DELIVERY)
        is_full = position % REFUND_IN_FULL_EVERY == 0
        amount_cents = order["total_cents"] if is_full else max(1, order["total_cents"] // 2)
        answer = await self._admin.send(
            self._client,
            "POST",
            f"/v1/orders/{order['id']}/refunds",
            json={"amount_cents": amount_cents, "reason": "Arrived broken."},
            key=f"{self._run}-refund-{order['id']}",
        )
        self._log.record(RequestKind.REFUND, answer, subject=f"order {order['number']}")

    async def _move(self, order_id: str, action: str, status: str, kind: RequestKind) -> None:
        answer = await self._admin.send(self._client, "POST", f"/v1/orders/{order_id}/{action}")
        # If the request was repeated, an earlier try may have moved the order.
        if answer.body.get("from") != status:
            self._log.record(kind, answer, subject=f"order {order_id}")

    async def _own_orders(self, status: str) -> list[dict[str, Any]]:
        """Return the run's orders that have this status, in the order in which they were placed."""
        by_id = {order["id"]: order async for order in self._admin.read_all(self._client, "/v1/orders", status=status)}
        return [by_id[order.id] for order in self._log.orders if order.id in by_id]

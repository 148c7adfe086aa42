"""The shop's side: once orders are decided, some are shipped, delivered, and refunded in part or whole."""

import asyncio
from typing import Any

from deploy.demo.accounts import Account
from deploy.demo.client import Client
from deploy.demo.ledger import Ledger, Sent

POLL_SECONDS = 0.5
SHIP_EVERY, DELIVER_EVERY, REFUND_WHOLE_EVERY = 5, 10, 20


class Fulfilment:
    """What the admin does with a run's orders."""

    def __init__(self, client: Client, *, admin: Account, run: str, ledger: Ledger) -> None:
        self._client = client
        self._admin = admin
        self._run = run
        self._ledger = ledger

    async def wait_until_decided(self, *, within_seconds: float) -> int:
        """Wait until none of the orders is pending. Returns how many still are when the time is over."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_seconds
        while True:
            pending = len(await self._own_orders("pending"))
            if not pending or loop.time() > deadline:
                return pending
            await asyncio.sleep(POLL_SECONDS)

    async def send_off_some(self, *, concurrency: int) -> None:
        """Every fifth confirmed order leaves, every tenth arrives, and is then refunded by half or whole by turns."""
        free = asyncio.Semaphore(concurrency)

        async def one(order: dict[str, Any], position: int) -> None:
            async with free:
                await self._send_off(order, position=position)

        async with asyncio.TaskGroup() as group:
            for position, order in enumerate(await self._own_orders("confirmed")):
                if position % SHIP_EVERY == 0:
                    group.create_task(one(order, position))

    async def _send_off(self, order: dict[str, Any], *, position: int) -> None:
        await self._move(order["id"], "ship", "shipped", Sent.SHIPMENT)
        if position % DELIVER_EVERY:
            return
        await self._move(order["id"], "deliver", "delivered", Sent.DELIVERY)
        is_whole = position % REFUND_WHOLE_EVERY == 0
        amount_cents = order["total_cents"] if is_whole else max(1, order["total_cents"] // 2)
        answer = await self._admin.send(
            self._client,
            "POST",
            f"/v1/orders/{order['id']}/refunds",
            json={"amount_cents": amount_cents, "reason": "Arrived broken."},
            key=f"{self._run}-refund-{order['id']}",
        )
        self._ledger.judge(Sent.REFUND, answer, what=f"order {order['number']}")

    async def _move(self, order_id: str, action: str, status: str, sent: Sent) -> None:
        answer = await self._admin.send(self._client, "POST", f"/v1/orders/{order_id}/{action}")
        # Of a repeated request the first may have been carried out without an answer.
        if answer.body.get("from") != status:
            self._ledger.judge(sent, answer, what=f"order {order_id}")

    async def _own_orders(self, status: str) -> list[dict[str, Any]]:
        """The run's orders with this status, in the order in which they were answered."""
        by_id = {order["id"]: order async for order in self._admin.read_all(self._client, "/v1/orders", status=status)}
        return [by_id[order.id] for order in self._ledger.orders if order.id in by_id]

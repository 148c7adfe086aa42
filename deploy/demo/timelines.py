"""The timelines of the orders that were placed, as their customers see them."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from deploy.demo.client import Client, RequestFailed
from deploy.demo.request_log import PlacedOrder


@dataclass(frozen=True)
class TimelineEntry:
    """A change of an order. A partial refund is an entry that leaves the status as it was."""

    status: str
    at: datetime
    reason: str | None
    is_refund: bool


@dataclass(frozen=True)
class Timeline:
    """An order and its changes, oldest first."""

    order: PlacedOrder
    entries: tuple[TimelineEntry, ...]

    def entry(self, status: str) -> TimelineEntry | None:
        """Return the entry with which the order first had a status; None if it never had it."""
        return next((entry for entry in self.entries if entry.status == status), None)


async def timelines_of(client: Client, orders: Sequence[PlacedOrder], *, concurrency: int) -> list[Timeline]:
    """Read each order as its customer. Raises: RequestFailed, for example if an accepted order does not exist."""
    slots = asyncio.Semaphore(concurrency)

    async def read(order: PlacedOrder) -> Timeline:
        async with slots:
            answer = await order.account.send(client, "GET", f"/v1/orders/{order.id}")
        if not answer.is_success:
            raise RequestFailed(f"order {order.id} was accepted, but reading it got {answer.status} {answer.code}")
        return Timeline(order, tuple(_entry(each) for each in answer.body["timeline"]))

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(read(order)) for order in orders]
    return [task.result() for task in tasks]


def _entry(entry: dict[str, Any]) -> TimelineEntry:
    return TimelineEntry(
        status=entry["status"],
        at=datetime.fromisoformat(entry["at"]),
        reason=entry["reason"],
        is_refund=entry["amount_cents"] is not None,
    )

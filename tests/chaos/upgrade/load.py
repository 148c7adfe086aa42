"""The load of a campaign: the demo's orders through the gateway, for as long as the versions change."""

import asyncio
import random
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from deploy.demo.accounts import Account
from deploy.demo.client import Answer
from deploy.demo.invoices import Invoice
from deploy.demo.order_placement import OrderPlacement
from deploy.demo.run import DemoRun
from deploy.demo.system import RunningSystem
from deploy.demo.target import ReceivedMail
from deploy.local.process import LocalError
from tests.chaos.injector import Injector
from tests.chaos.upgrade.direct_client import StrictClient
from tests.chaos.upgrade.instances import Instances
from tests.chaos.upgrade.journeys import Journeys
from tests.chaos.upgrade.rollout import Rollout

ORDERS_PER_SECOND = 4
CONCURRENCY = 9
LANES = 3
BATCH = 9
"""Invoices after which a lane looks whether the rollout has ended."""
CUSTOMERS = 40
LOYAL_CUSTOMERS = 80
ANONYMOUS_SHARE = 0.1
"""The share of the invoices without a customer that are sent; the API must refuse each."""


class PacedClient(StrictClient):
    """Spreads the orders over the campaign."""

    async def send(self, method: str, path: str, **request: Any) -> Answer:
        """Return the final answer. Raises: RequestFailed."""
        if (method, path) == ("POST", "/v1/orders"):
            await asyncio.sleep(CONCURRENCY / ORDERS_PER_SECOND)
        return await super().send(method, path, **request)


@dataclass(frozen=True)
class SystemOfTwoVersions:
    """The running system as the target of the demo. Its memory depends on which processes run just then."""

    running: RunningSystem

    @property
    def gateway_url(self) -> str:
        return self.running.gateway_url

    @property
    def databases(self) -> Mapping[str, str]:
        return self.running.databases

    @property
    def admin_password(self) -> str:
        return self.running.admin_password

    async def received_mails(self, *, run: str) -> Sequence[ReceivedMail]:
        return await self.running.received_mails(run=run)

    def kill(self, service: str) -> int:
        raise LocalError(f"The faults of this campaign kill {service}, not the demo")

    def restarts(self) -> Counter[str]:
        return self.running.restarts()

    def memory(self) -> None:
        """Return nothing."""


@dataclass(frozen=True)
class RunDuringRollout(DemoRun):
    """A run of the demo that changes versions while its orders are placed."""

    rollout: Rollout = field(kw_only=True)
    injector: Injector[Instances] = field(kw_only=True)
    journeys: Journeys = field(kw_only=True)

    async def place_orders(
        self,
        invoices: Sequence[Invoice],
        *,
        admin: Account,
        accounts: Mapping[str, Account],
        stock_codes: Collection[str],
    ) -> None:
        """Place invoices as orders until the rollout has ended."""
        placement = self.placement(admin=admin, accounts=accounts, stock_codes=stock_codes)
        ended = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(self.rollout.traffic.watch())
            group.create_task(self._roll_out(ended))
            group.create_task(self.journeys.run(ended))
            lanes = [group.create_task(_place_until(ended, placement, lane)) for lane in lanes_of(invoices)]
            await ended.wait()
            await asyncio.wait(lanes)
            watching.cancel()

    async def _roll_out(self, ended: asyncio.Event) -> None:
        self.injector.start()
        try:
            await self.rollout.run()
        finally:
            await self.injector.stop()
        ended.set()


async def _place_until(ended: asyncio.Event, placement: OrderPlacement, invoices: Sequence[Invoice]) -> None:
    for start in range(0, len(invoices), BATCH):
        if ended.is_set():
            return
        batch = invoices[start : start + BATCH]
        await placement.place_all(batch, concurrency=CONCURRENCY // LANES, advance=lambda: None)


def lanes_of(invoices: Sequence[Invoice]) -> list[list[Invoice]]:
    """Split the invoices, those of one customer into one lane. While one lane ends a batch, the others go on."""
    lanes: list[list[Invoice]] = [[] for _ in range(LANES)]
    lane_of: dict[str, int] = {}
    for invoice in invoices:
        lane = lane_of.setdefault(invoice.customer or invoice.number, len(lane_of) % LANES)
        lanes[lane].append(invoice)
    return lanes


def invoices_of_some(invoices: Sequence[Invoice], rng: random.Random) -> list[Invoice]:
    """Return the invoices of some loyal customers, in their order, and a few without a customer.

    Each customer costs a sign-up, so those with the most invoices are chosen from.
    """
    counts = Counter(invoice.customer for invoice in invoices if invoice.customer)
    chosen = set(rng.sample([customer for customer, _ in counts.most_common(LOYAL_CUSTOMERS)], k=CUSTOMERS))
    return [
        invoice
        for invoice in invoices
        if invoice.customer in chosen or (not invoice.customer and rng.random() < ANONYMOUS_SHARE)
    ]

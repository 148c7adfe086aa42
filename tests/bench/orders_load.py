"""Orders as customers place them: each client after its last answer, or at a rate that waits for no answer."""

import asyncio
import random
import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count

import httpx2

from deploy.audit.databases import Databases
from deploy.demo.accounts import Account, sign_up, signed_in_admin
from deploy.demo.client import Client
from deploy.demo.system import RunningSystem
from tests.bench.arrivals import arrival_times, start_each_at

CUSTOMERS = 48
PRODUCTS = 2_000
AMPLE_CREDIT_CENTS = 10**12
AMPLE_STOCK = 1_000_000
MAX_ITEMS = 3
MAX_CONNECTIONS = 64
TIMEOUT_SECONDS = 30.0
SEED = 20110

_request_numbers = count()


@dataclass(frozen=True)
class PlacedOrder:
    """An order that was answered with 201. `sent_at` is Unix time."""

    id: str
    sent_at: float
    answered_seconds: float


@dataclass(frozen=True)
class Load:
    """Places orders of 1 to 3 items for many customers, chosen by `rng`."""

    http: httpx2.AsyncClient
    customers: Sequence[Account]
    skus: Sequence[str]
    rng: random.Random
    key_prefix: str

    async def closed_loop(self, *, clients: int, seconds: float) -> list[PlacedOrder]:
        """Let each client place its next order once the last one is answered."""
        end = time.monotonic() + seconds
        placed: list[PlacedOrder] = []

        async def shop() -> None:
            while time.monotonic() < end:
                placed.append(await self._place())

        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(shop())
        return placed

    async def open_loop(self, *, per_second: float, seconds: float, seed: str) -> list[PlacedOrder]:
        """Place orders at random times, whether or not earlier ones are answered.

        Systems to compare need the same seed: the longest waits are those of the densest arrivals.
        """
        times = arrival_times(seed, per_second=per_second, seconds=seconds)
        return await start_each_at((at, self._place) for at in times)

    async def _place(self) -> PlacedOrder:
        chosen = self.rng.sample(self.skus, self.rng.randint(1, MAX_ITEMS))
        return await self.place(self.rng.choice(self.customers), {sku: self.rng.randint(1, 3) for sku in chosen})

    async def place(self, customer: Account, quantities: Mapping[str, int]) -> PlacedOrder:
        """Place an order of these quantities by SKU."""
        headers = {
            "Authorization": f"Bearer {customer.token}",
            "Idempotency-Key": f"{self.key_prefix}-{next(_request_numbers)}",
        }
        body = {"items": [{"sku": sku, "quantity": quantity} for sku, quantity in quantities.items()]}
        sent_at, started = time.time(), time.perf_counter()
        response = await self.http.post("/v1/orders", json=body, headers=headers)
        seconds = time.perf_counter() - started
        assert response.status_code == httpx2.codes.CREATED, f"{response.status_code}: {response.text[:200]}"
        return PlacedOrder(response.headers["Location"].rsplit("/", 1)[1], sent_at, seconds)


@asynccontextmanager
async def prepared_load(
    system: RunningSystem, databases: Databases, *, customers: int = CUSTOMERS
) -> AsyncIterator[Load]:
    """Sign customers up with ample credit, and choose products from all over the table with ample stock."""
    limits = httpx2.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS)
    async with httpx2.AsyncClient(base_url=system.gateway_url, timeout=TIMEOUT_SECONDS, limits=limits) as http:
        yield Load(
            http=http,
            customers=await _customers(Client(http), system, databases, number=customers),
            skus=await _stocked_skus(databases),
            rng=random.Random(SEED),  # noqa: S311 - reproducible by its seed
            key_prefix=secrets.token_hex(4),
        )


async def _customers(client: Client, system: RunningSystem, databases: Databases, *, number: int) -> list[Account]:
    accounts = await sign_up(
        client,
        {f"bench-{one}": "United Kingdom" for one in range(number)},
        admin=await signed_in_admin(client, password=system.admin_password),
        run=secrets.token_hex(4),
        low_credit_limit_cents=AMPLE_CREDIT_CENTS,
        concurrency=4,
        advance=lambda: None,
    )
    await databases["users"].execute(
        "UPDATE credit_account SET limit_cents = $2 WHERE user_id = ANY($1::uuid[])",
        [account.user_id for account in accounts.values()],
        AMPLE_CREDIT_CENTS,
    )
    return list(accounts.values())


async def _stocked_skus(databases: Databases) -> list[str]:
    chosen = await databases["orders"].fetch(
        "UPDATE product SET stock = $2 WHERE sku IN"
        " (SELECT sku FROM product WHERE active ORDER BY md5(sku) LIMIT $1) RETURNING sku",
        PRODUCTS,
        AMPLE_STOCK,
    )
    return sorted(row["sku"] for row in chosen)

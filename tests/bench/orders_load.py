"""Orders as customers send them: as fast as they are answered, or at a rate that cares for no answer."""

import asyncio
import random
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import asyncpg
import httpx2

from deploy.demo.accounts import Account, sign_up, signed_in_admin
from deploy.demo.client import Client
from deploy.demo.system import RunningSystem
from tests.bench.arrivals import arrival_times, started_at

CUSTOMERS = 48
PRODUCTS = 2_000
AMPLE_CREDIT_CENTS = 10**12
AMPLE_STOCK = 1_000_000
MAX_ITEMS = 3
MAX_CONNECTIONS = 64
PROBES_PER_SECOND = 8.0
TIMEOUT_SECONDS = 30.0


class OrderRefused(Exception):
    """An order was not taken, which voids the run."""


@dataclass(frozen=True)
class Placed:
    """An order that was answered with 201. `sent_at` is Unix time."""

    id: str
    sent_at: float
    answered_seconds: float


@dataclass
class Load:
    """Places orders of 1 to 3 items for many customers; what it sends is drawn by `rng`."""

    http: httpx2.AsyncClient
    customers: Sequence[Account]
    skus: Sequence[str]
    rng: random.Random
    run: str = field(default_factory=lambda: secrets.token_hex(4))
    sent: int = 0

    async def closed_loop(self, *, clients: int, seconds: float) -> list[Placed]:
        """Each client sends its next order once the last one is answered."""
        until = time.monotonic() + seconds
        placed: list[Placed] = []

        async def shop() -> None:
            while time.monotonic() < until:
                placed.append(await self._place())

        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(shop())
        return placed

    async def open_loop(self, *, per_second: float, seconds: float, arrivals: str) -> tuple[list[Placed], list[float]]:
        """Poisson arrivals, whether or not the earlier ones are answered; also the seconds that bare reads took.

        `arrivals` is their seed: the longest waits are those of the densest arrivals, so who is compared gets the same.
        """
        reading_at = arrival_times(f"{arrivals} reads", per_second=PROBES_PER_SECOND, seconds=seconds)
        ordering_at = arrival_times(f"{arrivals} orders", per_second=per_second, seconds=seconds)
        async with asyncio.TaskGroup() as group:
            reads = group.create_task(started_at((at, self._read) for at in reading_at))
            orders = group.create_task(started_at((at, self._place) for at in ordering_at))
        return orders.result(), reads.result()

    async def _place(self) -> Placed:
        """Raises: OrderRefused."""
        self.sent += 1
        chosen = self.rng.sample(self.skus, self.rng.randint(1, MAX_ITEMS))
        headers = {
            "Authorization": f"Bearer {self.rng.choice(self.customers).token}",
            "Idempotency-Key": f"{self.run}-{self.sent}",
        }
        body = {"items": [{"sku": sku, "quantity": self.rng.randint(1, 3)} for sku in chosen]}
        sent_at, begun = time.time(), time.perf_counter()
        response = await self.http.post("/v1/orders", json=body, headers=headers)
        seconds = time.perf_counter() - begun
        if response.status_code != httpx2.codes.CREATED:
            raise OrderRefused(f"{response.status_code}: {response.text[:200]}")
        return Placed(response.headers["Location"].rsplit("/", 1)[1], sent_at, seconds)

    async def _read(self) -> float:
        begun = time.perf_counter()
        response = await self.http.get(f"/v1/products/{self.rng.choice(self.skus)}")
        response.raise_for_status()
        return time.perf_counter() - begun


@asynccontextmanager
async def prepared_load(system: RunningSystem, *, seed: int) -> AsyncIterator[Load]:
    """Sign customers up with ample credit, choose products from all over the table, and give them ample stock."""
    limits = httpx2.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS)
    async with httpx2.AsyncClient(base_url=system.gateway_url, timeout=TIMEOUT_SECONDS, limits=limits) as http:
        yield Load(
            http=http,
            customers=await _customers(Client(http), admin_password=system.admin_password),
            skus=await _stocked(system.databases["orders"]),
            rng=random.Random(seed),  # noqa: S311 - chance by seed
        )


async def _customers(client: Client, *, admin_password: str) -> list[Account]:
    admin = await signed_in_admin(client, password=admin_password)
    accounts = await sign_up(
        client,
        {f"bench-{number}": "United Kingdom" for number in range(CUSTOMERS)},
        admin=admin,
        run=secrets.token_hex(4),
        low_credit_limit_cents=AMPLE_CREDIT_CENTS,
        concurrency=4,
        advance=lambda: None,
    )
    for account in accounts.values():
        limit = {"limit_cents": AMPLE_CREDIT_CENTS}
        answer = await admin.send(client, "PUT", f"/v1/users/{account.user_id}/credit-limit", json=limit)
        if not answer.is_success:
            raise OrderRefused(f"credit limit: {answer.status} {answer.code}")
    return list(accounts.values())


async def _stocked(database_url: str) -> list[str]:
    connection = await asyncpg.connect(database_url.replace("+asyncpg", "", 1))
    chosen = await connection.fetch("SELECT sku FROM product WHERE active ORDER BY md5(sku) LIMIT $1", PRODUCTS)
    skus = [row["sku"] for row in chosen]
    await connection.execute("UPDATE product SET stock = $2 WHERE sku = ANY($1)", skus, AMPLE_STOCK)
    await connection.close()
    return skus

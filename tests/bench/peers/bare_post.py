"""The SQL of Orderly's `POST /v1/orders` behind FastAPI and asyncpg, and nothing else: the floor of a request.

It runs on the database of the orders service, with that service's own statements.
`uvicorn --factory tests.bench.peers.bare_post:app`
"""

import hashlib
import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Annotated

import asyncpg
from fastapi import FastAPI, Header, Response

from services.orders import order_rows, stock
from shared.http import idempotency
from shared.ids import new_id
from shared.messaging.outbox import outbox
from tests.bench.peers.models import NewOrder

ROUTE = "POST /v1/orders"
POOL_SIZE = 10


def app() -> FastAPI:
    """Return the application. The token of a request is the customer's id."""

    @asynccontextmanager
    async def lifespan(service: FastAPI) -> AsyncIterator[None]:
        async with asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=1, max_size=POOL_SIZE) as pool:
            service.state.pool = pool
            yield

    service = FastAPI(lifespan=lifespan)

    @service.post("/v1/orders", status_code=201)
    async def place(
        body: NewOrder,
        authorization: Annotated[str, Header()],
        idempotency_key: Annotated[str, Header()],
        response: Response,
    ) -> dict[str, str]:
        user_id, order_id = uuid.UUID(authorization.removeprefix("Bearer ")), new_id()
        async with service.state.pool.acquire() as connection, connection.transaction():
            await _place(connection, body, user_id=user_id, order_id=order_id, key=idempotency_key)
        response.headers["Location"] = f"/v1/orders/{order_id}"
        return {"id": str(order_id), "status": "pending"}

    @service.get("/health")
    async def health() -> None:
        """Answer once the pool is open."""

    return service


async def _place(
    connection: "asyncpg.Connection[asyncpg.Record]",
    body: NewOrder,
    *,
    user_id: uuid.UUID,
    order_id: uuid.UUID,
    key: str,
) -> None:
    key_hash = hashlib.sha256(key.encode()).digest()
    quantities = {item.sku: item.quantity for item in body.items}
    await connection.fetchrow(
        idempotency._LOCK.sql, int.from_bytes(key_hash[:8], signed=True), user_id, ROUTE, key_hash
    )
    products = {row["sku"]: row for row in await connection.fetch(stock._LOCK_FOR_ORDER.sql, list(quantities))}
    number, now = next((row["order_sequence"], row["now"]) for row in products.values())
    prices = [products[sku]["price_cents"] for sku in quantities]
    await connection.execute(
        order_rows._INSERT.sql,
        list(quantities),
        list(quantities.values()),
        order_id,
        f"B-{number}",
        user_id,
        "pending",
        "GBP",
        sum(price * quantity for price, quantity in zip(prices, quantities.values(), strict=True)),
        now + timedelta(minutes=2),
        1,
        now,
        [products[sku]["name"] for sku in quantities],
        prices,
    )
    answer = b'{"id": "00000000-0000-0000-0000-000000000000", "status": "pending"}' * 8
    await connection.execute(idempotency._SAVE.sql, user_id, ROUTE, key_hash, key_hash, 201, "{}", answer)
    event = [[0], [new_id()], ["orders"], [str(order_id)], ["order.created"], ["urn:bare"], [now], [None], [None]]
    await connection.execute(outbox._INSERT.sql, *event, [answer], "urn:bare")

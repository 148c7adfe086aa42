"""The SQL of Orderly's `POST /v1/orders` behind FastAPI and asyncpg, and nothing else: the floor of a request.

It runs on the database of the orders service. When that service's SQL changes, change the statements here: the log of
`python -m tests.bench.work counts` shows which ones a request executes.
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

from shared.ids import new_id
from tests.bench.peers.models import NewOrder

LOCK = """
    SELECT lock.is_locked, k.fingerprint, k.status, k.headers, k.body
    FROM (SELECT pg_try_advisory_xact_lock($1) AS is_locked) AS lock
    LEFT JOIN idempotency_key k ON k.caller = $2 AND k.route = $3 AND k.key_hash = $4
"""
PRODUCTS = """
    SELECT sku, name, price_cents, currency, active, stock - reserved AS available,
           (SELECT nextval('order_number')) AS order_sequence, (SELECT clock_timestamp()) AS now
    FROM product WHERE sku = ANY ($1::text[]) ORDER BY sku FOR NO KEY UPDATE
"""
ORDER = """
    WITH reserved AS (
        UPDATE product SET reserved = product.reserved + i.quantity
        FROM unnest($1::text[], $2::int[]) AS i (sku, quantity) WHERE product.sku = i.sku
    ), placed AS (
        INSERT INTO customer_order (
            id, number, user_id, status, currency, total_cents, refunded_cents,
            deadline, version, created_at, updated_at
        ) VALUES ($3, $4, $5, 'pending', $6, $7, 0, $8, 1, $9, $9)
    ), items AS (
        INSERT INTO order_item (order_id, sku, name, unit_price_cents, quantity, position)
        SELECT $3, i.* FROM unnest($1::text[], $10::text[], $11::bigint[], $2::int[])
        WITH ORDINALITY AS i (sku, name, unit_price_cents, quantity, position)
    )
    INSERT INTO order_timeline (order_id, at, status, actor, actor_id) VALUES ($3, $9, 'pending', 'customer', $5)
"""
ANSWER = """
    INSERT INTO idempotency_key (caller, route, key_hash, fingerprint, status, headers, body)
    VALUES ($1, $2, $3, $4, 201, $5, $6)
"""
RECORD = """
    WITH recorded AS (
        SELECT * FROM unnest(
            CAST($1 AS smallint[]), CAST($2 AS uuid[]), CAST($3 AS text[]), CAST($4 AS text[]), CAST($5 AS text[]),
            CAST($6 AS text[]), CAST($7 AS timestamptz[]), CAST($8 AS text[]), CAST($9 AS text[]), $10::bytea[]
        ) WITH ORDINALITY
        AS r (shard, event_id, topic, key, type, dataschema, occurred_at, traceparent, tracestate, payload, position)
    ), stream AS (
        INSERT INTO event_stream (topic, key, sequence)
        SELECT topic, key, count(*) FROM recorded GROUP BY topic, key ORDER BY topic, key
        ON CONFLICT (topic, key) DO UPDATE SET sequence = event_stream.sequence + excluded.sequence
        RETURNING topic, key, sequence
    )
    INSERT INTO outbox (
        shard, event_id, topic, key, sequence, type, source, dataschema, occurred_at, traceparent, tracestate, payload
    )
    SELECT r.shard, r.event_id, r.topic, r.key,
           s.sequence + 1 - row_number() OVER (PARTITION BY r.topic, r.key ORDER BY r.position DESC),
           r.type, $11, r.dataschema, r.occurred_at, r.traceparent, r.tracestate, r.payload
    FROM recorded r JOIN stream s USING (topic, key)
    ORDER BY r.position
"""
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
    await connection.fetchrow(LOCK, int.from_bytes(key_hash[:8], signed=True), user_id, ROUTE, key_hash)
    products = {row["sku"]: row for row in await connection.fetch(PRODUCTS, list(quantities))}
    number, now = next((row["order_sequence"], row["now"]) for row in products.values())
    prices = [products[sku]["price_cents"] for sku in quantities]
    await connection.execute(
        ORDER,
        list(quantities),
        list(quantities.values()),
        order_id,
        f"B-{number}",
        user_id,
        "GBP",
        sum(price * quantity for price, quantity in zip(prices, quantities.values(), strict=True)),
        now + timedelta(minutes=2),
        now,
        [products[sku]["name"] for sku in quantities],
        prices,
    )
    answer = b'{"id": "00000000-0000-0000-0000-000000000000", "status": "pending"}' * 8
    await connection.execute(ANSWER, user_id, ROUTE, key_hash, key_hash, "{}", answer)
    event = [[0], [new_id()], ["orders"], [str(order_id)], ["order.created"], ["urn:bare"], [now], [None], [None]]
    await connection.execute(RECORD, *event, [answer], "urn:bare")

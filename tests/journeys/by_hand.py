"""Events of the three services in this process, sent and applied by hand, so that a test can stop them anywhere."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from services.orders.journey import Journeys
from services.orders.journey_parts import OtherServices
from shared.http.service_client import ServiceClient
from shared.messaging.consumer.batch import apply_batch
from shared.messaging.envelope import Received, encode_headers, received_of
from tests.access.orders_calls import add_product
from tests.access.system import Account, System
from tests.harness.asgi import served

_SEND = sa.text("""
    WITH sent AS (DELETE FROM outbox WHERE key = ANY(:keys) RETURNING *)
    INSERT INTO outbox_sent (
        day, id, event_id, topic, key, sequence, type, source, dataschema, occurred_at, traceparent, tracestate,
        payload, shard, partition, "offset", sent_at
    )
    SELECT CURRENT_DATE, id, event_id, topic, key, sequence, type, source, dataschema, occurred_at, traceparent,
           tracestate, payload, shard, 3, 1000 + id, clock_timestamp()
    FROM sent RETURNING *
""")
_AGE = """
    UPDATE {table} SET {column} = {column} - CAST(:age AS interval) WHERE {key} = :key
"""


@dataclass(frozen=True)
class ByHand:
    """The services without relays, consumers and jobs: a test does their work for one order after the other."""

    system: System
    urls: dict[str, str]

    async def place(self, owner: Account, *, quantity: int = 1) -> dict[str, Any]:
        """Place an order of a lamp for one pound."""
        items = [{"sku": await add_product(self.system), "quantity": quantity}]
        orders = self.system.clients["orders"]
        response = await orders.post("/v1/orders", json={"items": items}, headers=owner.header)
        assert response.status_code == 201, response.text
        return dict(response.json())

    async def send(self, service: str, *keys: object) -> list[Received]:
        """Move events of these keys to those that were sent, as the relay does, and return their records."""
        async with self.system.sessions(service).begin() as session:
            rows = (await session.execute(_SEND, {"keys": [str(key) for key in keys]})).mappings().all()
        return [_record_of(row) for row in sorted(rows, key=lambda row: row["id"])]

    async def apply(self, service: str, events: Sequence[Received]) -> None:
        """Apply events as the service's consumer of their topic does: those that fail become dead letters."""
        consumer = f"{service}.{events[0].topic}"
        subscription = self.system.apps[service].state.operations.dead_letters.subscriptions[consumer]
        handled = [event for event in events if not subscription.ignores(event.headers)]
        if not handled:
            return
        async with self.system.sessions(service).begin() as session:
            await apply_batch(
                session,
                consumer=consumer,
                subscription=subscription,
                events=handled,
                savepoints={event.place for event in handled},
            )

    async def reserve(self, order: dict[str, Any]) -> list[Received]:
        """Let users decide on the credit of an order, and send its reply."""
        await self.apply("users", await self.send("orders", order["id"]))
        return await self.send("users", order["user_id"])

    async def decide(self, order: dict[str, Any]) -> None:
        """Let users decide on the credit of an order, orders on the order, and notifications notify its customer."""
        await self.apply("orders", await self.reserve(order))
        decided = await self.send("orders", order["id"])
        await self.apply("notifications", decided)
        await self.apply("users", decided)
        await self.send("notifications", *(await self.notifications_of(order)))

    async def notifications_of(self, order: dict[str, Any]) -> list[UUID]:
        """Return the ids of the notifications about an order."""
        query = sa.text("SELECT id FROM notification WHERE data->>'order_id' = :id")
        async with self.system.sessions("notifications")() as session:
            return list(await session.scalars(query, {"id": order["id"]}))

    async def let_recipient_be_known(self, owner: Account) -> None:
        """Store a recipient whose address is verified."""
        statement = sa.text("""
            INSERT INTO recipient (user_id, email, name, locale, time_zone, email_verified, sequence)
            VALUES (:id, :email, 'Ada', 'en', 'UTC', true, 1) ON CONFLICT DO NOTHING
        """)
        async with self.system.sessions("notifications").begin() as session:
            await session.execute(statement, {"id": owner.id, "email": owner.email})

    async def age(self, service: str, table: str, *columns: str, key: tuple[str, object], by: timedelta) -> None:
        """Let times of rows lie further in the past."""
        name, value = key
        async with self.system.sessions(service).begin() as session:
            for column in columns:
                statement = sa.text(_AGE.format(table=table, column=column, key=name))
                await session.execute(statement, {"age": by, "key": value})

    async def journey(self, reference: object) -> dict[str, Any]:
        """Read a journey as support does."""
        header = self.system.accounts["support"].header
        response = await self.system.clients["orders"].get(f"/v1/orders/{reference}/journey", headers=header)
        assert response.status_code == 200, response.text
        return dict(response.json())

    def ask_at(self, urls: dict[str, str]) -> None:
        """Let orders ask the other services at these URLs."""
        app = self.system.apps["orders"]
        clients = {name: ServiceClient(url, timeout_seconds=5) for name, url in urls.items()}
        app.state.journeys = Journeys(app.state.sessions, app.state.operations.journeys, OtherServices(clients))

    async def close(self) -> None:
        """Close the connections of orders to the other services."""
        await self.system.apps["orders"].state.journeys.others.close()


@asynccontextmanager
async def by_hand(system: System) -> AsyncIterator[ByHand]:
    """Serve users and notifications over HTTP, for the orders service of this process."""
    async with AsyncExitStack() as stack:
        urls = {
            service: await stack.enter_async_context(served(system.apps[service]))
            for service in ("users", "notifications")
        }
        hand = ByHand(system, urls)
        hand.ask_at(urls)
        stack.push_async_callback(hand.close)
        yield hand


def _record_of(row: Any) -> Received:
    headers = encode_headers(
        event_id=row["event_id"],
        event_type=row["type"],
        source=row["source"],
        dataschema=row["dataschema"],
        occurred_at=row["occurred_at"],
        key=row["key"],
        sequence=row["sequence"],
        traceparent=row["traceparent"],
        tracestate=row["tracestate"],
    )
    return received_of(
        topic=row["topic"],
        partition=row["partition"],
        offset=row["offset"],
        key=row["key"],
        value=row["payload"],
        headers=dict(headers),
    )

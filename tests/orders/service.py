"""The orders service under test: HTTP requests and events go in, rows and recorded events are read."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx2
import orjson
import sqlalchemy as sa

from services.orders.customer_commands import replace_customers
from services.orders.subscribers import users
from shared.database import Sessions
from shared.events.contract import Event
from shared.events.users import CreditRefused, CreditReserved
from shared.messaging.consumer.batch import apply_batch
from shared.sealed_contacts import open_contacts
from tests.harness.builders import received
from tests.harness.personal_keys import StoredKeys
from tests.harness.waiting import until
from tests.shared.http.token_issuer import TokenIssuer

CUSTOMER = UUID("01900000-0000-7000-8000-000000000001")
SUPPORT = UUID("01900000-0000-7000-8000-0000000000aa")
ADMIN = UUID("01900000-0000-7000-8000-0000000000bb")

_COPY_ORDER = sa.text("""
    INSERT INTO customer_order
    SELECT gen_random_uuid(), number || n, user_id, status, currency, total_cents, refunded_cents, units, deadline,
           version, created_at, updated_at
    FROM customer_order, generate_series(1, :times) AS n WHERE id = :id
""")
_COPY_ITEMS = sa.text("""
    INSERT INTO order_item
    SELECT copy.id, sku, position, name, unit_price_cents, quantity
    FROM order_item, customer_order copy WHERE order_id = :id AND length(copy.number) > 10
""")
_RESERVE_FOR_COPIES = sa.text("""
    UPDATE product SET reserved = reserved + :times * quantity
    FROM order_item WHERE order_id = :id AND order_item.sku = product.sku
""")


@dataclass
class OrdersService:
    """The application's client and the helpers that most tests need."""

    http: httpx2.AsyncClient
    issuer: TokenIssuer
    sessions: Sessions
    _sequences: Counter[str] = field(default_factory=Counter)

    def customer(
        self, user_id: UUID = CUSTOMER, *, if_match: str | None = None, key: str | None = None
    ) -> dict[str, str]:
        """Return the headers of a customer's request."""
        return self.issuer.header("customer", user_id=user_id) | _conditions(if_match, key)

    def support(self, *, if_match: str | None = None, key: str | None = None) -> dict[str, str]:
        """Return the headers of a support request."""
        return self.issuer.header("support", user_id=SUPPORT) | _conditions(if_match, key)

    def admin(self, *, if_match: str | None = None, key: str | None = None) -> dict[str, str]:
        """Return the headers of an admin's request."""
        return self.issuer.header("admin", user_id=ADMIN) | _conditions(if_match, key)

    async def add_product(self, sku: str, *, stock: int = 100, **members: Any) -> None:
        product = {"sku": sku, "name": f"Product {sku}", "price_cents": 250, "currency": "GBP", "stock": stock}
        response = await self.http.post("/v1/products", json=product | members, headers=self.admin())
        assert response.status_code == 201, response.text

    async def post_order(
        self, *lines: tuple[str, int], user_id: UUID = CUSTOMER, key: str | None = None
    ) -> httpx2.Response:
        items = [{"sku": sku, "quantity": quantity} for sku, quantity in lines]
        headers = self.customer(user_id, key=key)
        return await self.http.post("/v1/orders", json={"items": items}, headers=headers)

    async def place_order(self, *lines: tuple[str, int], user_id: UUID = CUSTOMER) -> dict[str, Any]:
        response = await self.post_order(*lines, user_id=user_id)
        assert response.status_code == 201, response.text
        return dict(response.json())

    async def place_confirmed_order(self, *lines: tuple[str, int]) -> dict[str, Any]:
        order = await self.place_order(*lines)
        await self.apply(credit_reserved(order))
        return order

    async def post_action(self, order: dict[str, Any], action: str, *, as_: dict[str, str]) -> httpx2.Response:
        return await self.http.post(f"/v1/orders/{order['id']}/{action}", headers=as_)

    async def read_order(self, order: dict[str, Any]) -> dict[str, Any]:
        response = await self.http.get(f"/v1/orders/{order['id']}", headers=self.support())
        assert response.status_code == 200, response.text
        return dict(response.json())

    async def wait_until(self, order: dict[str, Any], status: str, *, within_seconds: float) -> None:
        async def has_status() -> bool:
            return bool((await self.read_order(order))["status"] == status)

        await until(has_status, seconds=within_seconds, what=f"the order is {status}", poll_seconds=0.1)

    async def apply(self, *events: Event) -> None:
        """Apply events as one batch of the consumer."""
        records = []
        for event in events:
            self._sequences[event.key] += 1
            records.append(received(event, sequence=self._sequences[event.key]))
        async with self.sessions.begin() as session:
            await apply_batch(session, consumer="orders.users", subscription=users, events=records)
        # As the job does that the consumer enqueues.
        await open_contacts(
            self.sessions,
            {UUID(event.key) for event in events},
            keys=StoredKeys().personal_keys(),
            replace=replace_customers,
        )

    async def make_overdue(self, *orders: dict[str, Any]) -> None:
        """Move the deadline of these orders, and of their copies, into the past."""
        async with self.sessions.begin() as session:
            await session.execute(
                sa.text(
                    "UPDATE customer_order SET deadline = now() - interval '1 s' WHERE left(number, 10) = ANY(:numbers)"
                ),
                {"numbers": [order["number"] for order in orders]},
            )

    async def copy_order(self, order: dict[str, Any], *, times: int) -> None:
        """Insert copies of an order. Their numbers begin with its number."""
        original: dict[str, Any] = {"id": order["id"]}
        async with self.sessions.begin() as session:
            await session.execute(_COPY_ORDER, original | {"times": times})
            await session.execute(_COPY_ITEMS, original)
            await session.execute(_RESERVE_FOR_COPIES, original | {"times": times})

    async def events(self, topic: str) -> list[tuple[str, dict[str, Any]]]:
        """Return types and data of the recorded events, in order."""
        async with self.sessions() as session:
            rows = await session.execute(
                sa.text("SELECT type, payload FROM outbox WHERE topic = :topic ORDER BY id"), {"topic": topic}
            )
            return [(type_, orjson.loads(payload)) for type_, payload in rows]

    async def stock(self, sku: str) -> tuple[int, int]:
        """Return stock and reserved stock of a product."""
        async with self.sessions() as session:
            row = await session.execute(sa.text("SELECT stock, reserved FROM product WHERE sku = :sku"), {"sku": sku})
            stock, reserved = row.one()
            return stock, reserved

    async def inconsistent_reservations(self) -> list[tuple[str, int, int]]:
        """Return (SKU, reserved stock, quantity on open orders) of products where the two differ."""
        query = sa.text("""
            SELECT sku, reserved, coalesce(held, 0)
            FROM product LEFT JOIN (
                SELECT sku, sum(quantity) AS held
                FROM order_item JOIN customer_order ON customer_order.id = order_id
                WHERE status IN ('pending', 'confirmed') GROUP BY sku
            ) open USING (sku)
            WHERE reserved <> coalesce(held, 0)
        """)
        async with self.sessions() as session:
            return [(sku, reserved, held) for sku, reserved, held in await session.execute(query)]


def credit_reserved(order: dict[str, Any]) -> CreditReserved:
    return CreditReserved(
        user_id=UUID(order["user_id"]),
        order_id=UUID(order["id"]),
        amount_cents=order["total_cents"],
        currency=order["currency"],
    )


def credit_refused(order: dict[str, Any]) -> CreditRefused:
    return CreditRefused(
        user_id=UUID(order["user_id"]),
        order_id=UUID(order["id"]),
        amount_cents=order["total_cents"],
        currency=order["currency"],
        reason="limit_exceeded",
    )


def _conditions(if_match: str | None, key: str | None) -> dict[str, str]:
    headers = {"If-Match": if_match, "Idempotency-Key": key}
    return {name: value for name, value in headers.items() if value is not None}

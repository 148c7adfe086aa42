"""Requests to the orders service."""

from typing import Any

from services.orders.dependencies import NOT_FOR_SALE
from services.orders.subscribers import users
from shared.http.auth import ANY
from shared.messaging.consumer.batch import apply_batch
from tests.access.calls import Call, call_of, plain
from tests.access.system import Account, System
from tests.harness.builders import received
from tests.orders.service import credit_reserved


async def add_product(system: System, objects: str = ANY) -> str:
    """Create a product, for sale or not, and return its SKU."""
    sku = f"P{system.number()}"
    product = {"sku": sku, "name": "Tea", "price_cents": 100, "currency": "GBP", "stock": 1_000}
    await system.send_as_admin("orders", "POST", "/v1/products", product)
    if objects == NOT_FOR_SALE:
        headers = {**system.admin.header, "If-Match": '"1"'}
        changed = await system.clients["orders"].patch(f"/v1/products/{sku}", json={"active": False}, headers=headers)
        assert changed.status_code == 200, changed.text
    return sku


async def placed_order(system: System, owner: Account) -> dict[str, Any]:
    """Place an order of this owner."""
    items = [{"sku": await add_product(system), "quantity": 1}]
    response = await system.clients["orders"].post("/v1/orders", json={"items": items}, headers=owner.header)
    assert response.status_code == 201, response.text
    order: dict[str, Any] = response.json()
    return order


async def confirmed_order(system: System, owner: Account) -> dict[str, Any]:
    """Place an order of this owner, and confirm it as the credit's reservation does."""
    order = await placed_order(system, owner)
    event = received(credit_reserved(order), sequence=system.number() + 1)
    async with system.sessions("orders").begin() as session:
        await apply_batch(session, consumer="orders.users", subscription=users, events=[event])
    return order


async def shipped_order(system: System, owner: Account) -> dict[str, Any]:
    """Ship an order of this owner, by somebody who does not own it."""
    order = await confirmed_order(system, owner)
    header = system.accounts["colleague"].header
    shipped = await system.clients["orders"].post(f"/v1/orders/{order['id']}/ship", headers=header)
    assert shipped.status_code == 200, shipped.text
    return order


@call_of("GET /v1/products")
async def list_products(system: System, _owner: Account, objects: str) -> Call:
    await add_product(system, objects)
    return Call("/v1/products", params={"active": objects != NOT_FOR_SALE})


@call_of("GET /v1/products/{sku}")
async def read_product(system: System, _owner: Account, objects: str) -> Call:
    return Call(f"/v1/products/{await add_product(system, objects)}")


@call_of("POST /v1/products")
async def create_product(system: System, _owner: Account, _objects: str) -> Call:
    sku = f"P{system.number()}"
    product = {"sku": sku, "name": "Tea", "price_cents": 100, "currency": "GBP", "stock": 1_000}
    return Call("/v1/products", product)


@call_of("PATCH /v1/products/{sku}")
async def update_product(system: System, _owner: Account, _objects: str) -> Call:
    return Call(f"/v1/products/{await add_product(system)}", {"price_cents": 200}, headers={"If-Match": '"1"'})


@call_of("POST /v1/orders")
async def place_order(system: System, _owner: Account, _objects: str) -> Call:
    return Call("/v1/orders", {"items": [{"sku": await add_product(system), "quantity": 1}]})


@call_of("GET /v1/orders")
async def list_orders(system: System, owner: Account, _objects: str) -> Call:
    await placed_order(system, owner)
    return Call("/v1/orders", params={"user_id": str(owner.id)})


@call_of("GET /v1/orders/{order_id}")
async def read_order(system: System, owner: Account, _objects: str) -> Call:
    return Call(f"/v1/orders/{(await placed_order(system, owner))['id']}")


@call_of("POST /v1/orders/{order_id}/cancel")
async def cancel_order(system: System, owner: Account, _objects: str) -> Call:
    return Call(f"/v1/orders/{(await placed_order(system, owner))['id']}/cancel")


@call_of("POST /v1/orders/{order_id}/ship")
async def ship_order(system: System, owner: Account, _objects: str) -> Call:
    return Call(f"/v1/orders/{(await confirmed_order(system, owner))['id']}/ship")


@call_of("POST /v1/orders/{order_id}/deliver")
async def deliver_order(system: System, owner: Account, _objects: str) -> Call:
    return Call(f"/v1/orders/{(await shipped_order(system, owner))['id']}/deliver")


@call_of("POST /v1/orders/{order_id}/refunds")
async def refund_order(system: System, owner: Account, _objects: str) -> Call:
    return Call(f"/v1/orders/{(await shipped_order(system, owner))['id']}/refunds", {"amount_cents": 1})


@call_of("GET /v1/orders/{reference}/journey")
async def read_journey(system: System, owner: Account, _objects: str) -> Call:
    return Call(f"/v1/orders/{(await placed_order(system, owner))['number']}/journey")


plain("GET /v1/operations/orders/stuck")

"""Access to the routes of the orders service, and their description."""

from services.orders.app import create_app
from services.orders.settings import Settings
from shared.http.auth import access_matrix

OWN_ROUTES = {
    "GET /v1/products": "public",
    "GET /v1/products/{sku}": "public",
    "POST /v1/products": "admin",
    "PATCH /v1/products/{sku}": "admin",
    "POST /v1/orders": "caller",
    "GET /v1/orders": "caller",
    "GET /v1/orders/{order_id}": "caller",
    "POST /v1/orders/{order_id}/cancel": "caller",
    "POST /v1/orders/{order_id}/ship": "admin|support",
    "POST /v1/orders/{order_id}/deliver": "admin|support",
    "POST /v1/orders/{order_id}/refunds": "admin|support",
}


async def test_every_route_declares_who_may_call_it(settings: Settings) -> None:
    matrix = access_matrix(create_app(settings))
    own = {route: access for route, access in matrix.items() if " /v1/" in route}
    operations = {route: own.pop(route) for route in list(own) if " /v1/operations/" in route}
    assert set(operations.values()) == {"admin"}
    assert own == OWN_ROUTES


async def test_every_operation_is_described_and_lists_its_problems(settings: Settings) -> None:
    document = create_app(settings).openapi()
    operations = {
        operation["operationId"]: operation
        for path, item in document["paths"].items()
        for operation in item.values()
        if path.startswith("/v1/") and not path.startswith("/v1/operations/")
    }
    assert set(operations) == {
        "list_products",
        "read_product",
        "create_product",
        "update_product",
        "place_order",
        "list_orders",
        "read_order",
        "cancel_order",
        "ship_order",
        "deliver_order",
        "refund_order",
    }
    for operation in operations.values():
        assert operation["summary"]
        assert operation["description"]
    conflicts = operations["place_order"]["responses"]["409"]["content"]["application/problem+json"]["examples"]
    assert set(conflicts) == {"product_unavailable", "out_of_stock", "currencies_mixed", "idempotency_key_in_use"}

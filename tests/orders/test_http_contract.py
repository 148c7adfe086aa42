"""The description of the orders service's routes."""

from services.orders.app import create_app
from services.orders.settings import Settings


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
        "read_journey",
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

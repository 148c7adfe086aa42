"""The routes that customers use, and the answers of a rule, which are no errors."""

from deploy.demo.request_log import EXPECTED_ERRORS, RequestKind

PLACE_ORDER = "POST /v1/orders"
CANCEL_ORDER = "POST /v1/orders/{id}/cancel"
READ_ORDER = "GET /v1/orders/{id}"
LIST_ORDERS = "GET /v1/orders"
SEARCH_PRODUCTS = "GET /v1/products"
READ_PRODUCT = "GET /v1/products/{sku}"
LIST_NOTIFICATIONS = "GET /v1/notifications"
REFRESH = "POST /v1/sessions/refresh"
SIGN_IN = "POST /v1/sessions"
ROUTES = (
    SEARCH_PRODUCTS,
    READ_PRODUCT,
    PLACE_ORDER,
    READ_ORDER,
    LIST_ORDERS,
    CANCEL_ORDER,
    LIST_NOTIFICATIONS,
    REFRESH,
    SIGN_IN,
)
_EXPECTED = {
    PLACE_ORDER: EXPECTED_ERRORS[RequestKind.ORDER],
    CANCEL_ORDER: EXPECTED_ERRORS[RequestKind.CANCELLATION],
}


def is_expected(route: str, code: str) -> bool:
    """Return whether a rule explains the answer, as `out_of_stock` does. Expected errors are counted apart."""
    return code in _EXPECTED.get(route, frozenset())

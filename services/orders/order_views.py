"""A caller's view of orders. Only staff see a customer's name and address, which are a replica of the account's."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from services.orders import queries
from services.orders.models import Customer, Order
from services.orders.schemas import CustomerView, OrderSummaryView, OrderView
from shared.http.auth import Permit


async def read_order_view(session: AsyncSession, order_id: UUID, *, permit: Permit) -> tuple[Order, OrderView]:
    """Return an order and the caller's view of it. Raises: OrderNotFound, or the denial of the permit."""
    order, customer = await queries.order_with_details(session, order_id, permit=permit)
    return order, order_view(order, customer, permit=permit)


def order_view(order: Order, customer: Customer | None, *, permit: Permit) -> OrderView:
    """Return the caller's view of an order whose items and timeline are loaded."""
    return OrderView.model_validate(order).model_copy(update={"customer": _customer_view(customer, permit)})


def order_summary_view(order: Order, customer: Customer | None, *, permit: Permit) -> OrderSummaryView:
    """Return the caller's view of an order in a list."""
    return OrderSummaryView.model_validate(order).model_copy(update={"customer": _customer_view(customer, permit)})


def shown_beside_version(view: OrderView) -> Sequence[object]:
    """Return what a view shows that the order's version does not count: the customer."""
    return [view.customer.model_dump()] if view.customer else []


def _customer_view(customer: Customer | None, permit: Permit) -> CustomerView | None:
    return CustomerView.model_validate(customer) if customer is not None and permit.is_staff else None

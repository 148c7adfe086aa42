"""Routes of orders: customers place, read and cancel their own; staff ship, deliver and refund all of them."""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Annotated
from uuid import UUID

import structlog
from fastapi import APIRouter, Depends, Query, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from services.orders import commands, queries
from services.orders.commands import CurrenciesMixed, TotalTooLarge
from services.orders.dependencies import (
    PLACE_ORDERS,
    CancelPermit,
    FulfilPermit,
    ListPermit,
    PlacePermit,
    ReadPermit,
    SettingsDep,
)
from services.orders.models import Order, OrderStatus, RefundExceedsTotal, TransitionNotAllowed
from services.orders.order_number import is_order_number
from services.orders.order_rows import PendingLimits, TooManyPendingOrders, TooManyPendingUnits
from services.orders.order_views import order_summary_view, order_view, read_order_view, shown_beside_version
from services.orders.queries import OrderNotFound
from services.orders.schemas import NewOrder, NewRefund, OrderNumber, OrderNumberMistyped, OrderSummaryView, OrderView
from services.orders.stock import OutOfStock, ProductUnavailable
from shared.cache import Cache
from shared.database import Sessions
from shared.errors import Problem
from shared.http.auth import Permit
from shared.http.dependencies import CacheDep, SessionsDep
from shared.http.etags import OptionalIfMatch, etag_of
from shared.http.idempotency import IdempotencyKey, run_idempotently
from shared.http.pagination import Page, PageParams, page_of
from shared.http.problems import responses
from shared.http.responses import CREATED, VERSIONED, created, is_repeat, versioned
from shared.ids import new_id
from shared.preconditions import Precondition

logger = structlog.get_logger(__name__)
router = APIRouter(prefix="/v1/orders", tags=["orders"])


class TooManyItems(Problem):
    """The order has too many items."""

    status = 422
    code = "too_many_items"


class TooManyUnits(Problem):
    """The order has too many units of all items together."""

    status = 422
    code = "too_many_units"


@router.post(
    "",
    status_code=201,
    response_model=OrderView,
    summary="Place an order",
    dependencies=[Depends(PLACE_ORDERS)],
    responses=CREATED
    | responses(
        ProductUnavailable,
        OutOfStock,
        CurrenciesMixed,
        TotalTooLarge,
        TooManyItems,
        TooManyUnits,
        TooManyPendingOrders,
        TooManyPendingUnits,
    ),
)
async def place_order(
    body: NewOrder,
    *,
    request: Request,
    permit: PlacePermit,
    sessions: SessionsDep,
    cache: CacheDep,
    settings: SettingsDep,
    key: IdempotencyKey = None,
) -> Response:
    """Place an order: reserve its stock and request its credit.

    The order is pending until the credit is reserved or refused, or until its deadline has passed.
    """
    if len(body.items) > settings.max_items_per_order:
        raise TooManyItems(extra={"max_items": settings.max_items_per_order})
    quantities = Counter[str]()
    for item in body.items:
        quantities[item.sku] += item.quantity
    if quantities.total() > settings.max_pending_units:
        raise TooManyUnits(extra={"max_units": settings.max_pending_units})
    order_id = new_id()

    async def place(session: AsyncSession) -> Response:
        order = await commands.place_order(
            session,
            order_id=order_id,
            user_id=permit.user_id,
            quantities=quantities,
            pending_timeout=settings.order_deadline,
            limits=PendingLimits(settings.max_pending_orders, settings.max_pending_units),
        )
        return created(order_view(order, None, permit=permit), location=f"/v1/orders/{order_id}", version=order.version)

    response = await run_idempotently(
        sessions, request=request, caller_id=permit.user_id, key=key, body=body, action=place
    )
    if not is_repeat(response):
        await _invalidate_products(cache, quantities)
        logger.info("order_placed", order_id=str(order_id), items=len(quantities))
    return response


@router.get("", summary="List orders", responses=responses(OrderNumberMistyped))
async def list_orders(
    request: Request,
    *,
    permit: ListPermit,
    sessions: SessionsDep,
    params: PageParams,
    user_id: Annotated[
        UUID | None, Query(description="Only orders of this user. Support and admins see all orders without it.")
    ] = None,
    status: Annotated[OrderStatus | None, Query(description="Only orders with this status.")] = None,
    number: Annotated[OrderNumber | None, Query(description="Only the order with this number.")] = None,
    stuck: Annotated[bool, Query(description="Only orders that are pending past their deadline.")] = False,
) -> Page[OrderSummaryView]:
    """Return orders, newest first. Customers see their own orders."""
    if number is not None and not is_order_number(number):
        raise OrderNumberMistyped
    if user_id is None and not permit.is_staff:
        user_id = permit.user_id
    if user_id is not None:
        permit.check_owner(user_id)

    query = queries.orders_newest_first(user_id=user_id, status=status, number=number, stuck=stuck)
    async with sessions() as session:
        return await page_of(
            session, query, request=request, params=params, map=partial(order_summary_view, permit=permit)
        )


@router.get("/{order_id}", summary="Read an order", responses=VERSIONED | responses(OrderNotFound))
async def read_order(order_id: UUID, *, response: Response, permit: ReadPermit, sessions: SessionsDep) -> OrderView:
    """Return one order with its items and its timeline."""
    async with sessions() as session:
        order, body = await read_order_view(session, order_id, permit=permit)
    response.headers["ETag"] = etag_of(order.version, *shown_beside_version(body))
    return body


@router.post(
    "/{order_id}/cancel",
    response_model=OrderView,
    summary="Cancel an order",
    responses=VERSIONED | responses(OrderNotFound, TransitionNotAllowed),
)
async def cancel_order(
    order_id: UUID,
    *,
    request: Request,
    permit: CancelPermit,
    sessions: SessionsDep,
    cache: CacheDep,
    precondition: OptionalIfMatch,
    key: IdempotencyKey = None,
) -> Response:
    """Cancel a pending or confirmed order."""
    change = _Change(commands.cancel_order, order_id, permit, precondition)
    return await change.run("order_cancelled", sessions, request=request, key=key, cache=cache)


@router.post(
    "/{order_id}/ship",
    response_model=OrderView,
    summary="Ship an order",
    responses=VERSIONED | responses(OrderNotFound, TransitionNotAllowed),
)
async def ship_order(
    order_id: UUID,
    *,
    request: Request,
    permit: FulfilPermit,
    sessions: SessionsDep,
    cache: CacheDep,
    precondition: OptionalIfMatch,
    key: IdempotencyKey = None,
) -> Response:
    """Mark a confirmed order as shipped. For support and admins."""
    change = _Change(commands.ship_order, order_id, permit, precondition)
    return await change.run("order_shipped", sessions, request=request, key=key, cache=cache)


@router.post(
    "/{order_id}/deliver",
    response_model=OrderView,
    summary="Deliver an order",
    responses=VERSIONED | responses(OrderNotFound, TransitionNotAllowed),
)
async def deliver_order(
    order_id: UUID,
    *,
    request: Request,
    permit: FulfilPermit,
    sessions: SessionsDep,
    precondition: OptionalIfMatch,
    key: IdempotencyKey = None,
) -> Response:
    """Mark a shipped order as delivered. For support and admins."""
    change = _Change(commands.deliver_order, order_id, permit, precondition)
    return await change.run("order_delivered", sessions, request=request, key=key)


@router.post(
    "/{order_id}/refunds",
    status_code=201,
    response_model=OrderView,
    summary="Refund an order",
    responses=CREATED | responses(OrderNotFound, RefundExceedsTotal, TransitionNotAllowed),
)
async def refund_order(
    order_id: UUID,
    *,
    body: NewRefund,
    request: Request,
    permit: FulfilPermit,
    sessions: SessionsDep,
    precondition: OptionalIfMatch,
    key: IdempotencyKey = None,
) -> Response:
    """Refund a shipped or delivered order, in part or in whole, and return the order. For support and admins."""

    async def refund(session: AsyncSession) -> Response:
        await commands.refund_order(
            session,
            order_id=order_id,
            permit=permit,
            amount_cents=body.amount_cents,
            reason=body.reason,
            precondition=precondition,
        )
        order, view = await read_order_view(session, order_id, permit=permit)
        location = f"/v1/orders/{order_id}"
        return created(view, location=location, version=order.version, beside=shown_beside_version(view))

    response = await run_idempotently(
        sessions, request=request, caller_id=permit.user_id, key=key, body=body, action=refund
    )
    if not is_repeat(response):
        logger.info("order_refunded", order_id=str(order_id))
    return response


@dataclass
class _Change:
    """A change of an order by a command. It is made again if its transaction is repeated."""

    command: Callable[..., Awaitable[Order]]
    order_id: UUID
    permit: Permit
    precondition: Precondition
    order: Order | None = None
    """The order once it is changed, with its items."""

    async def run(
        self, event: str, sessions: Sessions, *, request: Request, key: str | None, cache: Cache | None = None
    ) -> Response:
        """Make the change once per key, and log it. `cache` holds the products whose stock it changes."""
        response = await run_idempotently(
            sessions, request=request, caller_id=self.permit.user_id, key=key, body=None, action=self._make
        )
        if self.order is not None and not is_repeat(response):
            if cache is not None:
                await _invalidate_products(cache, (item.sku for item in self.order.items))
            logger.info(event, order_id=str(self.order_id), version=self.order.version)
        return response

    async def _make(self, session: AsyncSession) -> Response:
        await self.command(session, order_id=self.order_id, permit=self.permit, precondition=self.precondition)
        self.order, view = await read_order_view(session, self.order_id, permit=self.permit)
        return versioned(view, version=self.order.version, beside=shown_beside_version(view))


async def _invalidate_products(cache: Cache, skus: Iterable[str]) -> None:
    await cache.invalidate(*(queries.product_cache_key(sku) for sku in skus))

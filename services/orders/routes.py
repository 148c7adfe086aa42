"""Orders over HTTP: customers place, see and cancel their own, support drives all of them on."""

from collections import Counter
from collections.abc import Iterable
from operator import attrgetter
from typing import Annotated
from uuid import UUID

import structlog
from fastapi import APIRouter, Query, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from services.orders import commands, queries
from services.orders.commands import CurrenciesMixed, TotalTooLarge
from services.orders.dependencies import CurrentActor, OptionalIfMatch, SettingsDep, StaffActor, created, is_repeat
from services.orders.models import Actor, Order, OrderNotFound, OrderStatus, RefundExceedsTotal, TransitionNotAllowed
from services.orders.schemas import NewOrder, NewRefund, OrderNumber, OrderSummaryView, OrderView
from services.orders.stock import OutOfStock, ProductUnavailable
from shared.cache import Cache
from shared.errors import PreconditionFailed, Problem
from shared.http.auth import RoleRequired, TokenMissing
from shared.http.dependencies import CacheDep, SessionsDep
from shared.http.etags import etag_of
from shared.http.idempotency import IdempotencyKey, IdempotencyKeyInUse, IdempotencyKeyReused, run_idempotently
from shared.http.pagination import CursorInvalid, Page, PageParams, page_of
from shared.http.problems import responses
from shared.http.tokens import KeysUnavailable, TokenExpired, TokenInvalid
from shared.ids import new_id

logger = structlog.get_logger(__name__)
router = APIRouter(prefix="/v1/orders", tags=["orders"], generate_unique_id_function=attrgetter("name"))

CALLER_PROBLEMS = (TokenMissing, TokenInvalid, TokenExpired, KeysUnavailable)
CHANGE_PROBLEMS = (OrderNotFound, TransitionNotAllowed, PreconditionFailed, *CALLER_PROBLEMS)
KEY_PROBLEMS = (IdempotencyKeyInUse, IdempotencyKeyReused)


class TooManyItems(Problem):
    """The order has too many lines."""

    status = 422
    code = "too_many_items"


@router.post(
    "",
    status_code=201,
    response_model=OrderView,
    summary="Place an order",
    responses=responses(
        ProductUnavailable, OutOfStock, CurrenciesMixed, TotalTooLarge, TooManyItems, *KEY_PROBLEMS, *CALLER_PROBLEMS
    ),
)
async def place_order(
    body: NewOrder,
    *,
    request: Request,
    actor: CurrentActor,
    sessions: SessionsDep,
    cache: CacheDep,
    settings: SettingsDep,
    key: IdempotencyKey = None,
) -> Response:
    """Sets the stock aside and asks for the credit: the order is pending until that answers or its deadline comes."""
    if len(body.items) > settings.max_items_per_order:
        raise TooManyItems(extra={"max_items": settings.max_items_per_order})
    quantities = Counter[str]()
    for item in body.items:
        quantities[item.sku] += item.quantity
    order_id = new_id()

    async def place(session: AsyncSession) -> Response:
        order = await commands.place_order(
            session,
            order_id=order_id,
            user_id=actor.user_id,
            quantities=quantities,
            pending_at_most=settings.order_deadline,
        )
        return created(
            queries.body_of(order, None, actor=actor), location=f"/v1/orders/{order_id}", version=order.version
        )

    response = await run_idempotently(
        sessions, request=request, caller_id=actor.user_id, key=key, body=body, action=place
    )
    if not is_repeat(response):
        await _invalidate_products(cache, quantities)
        logger.info("order_placed", order_id=str(order_id), lines=len(quantities))
    return response


@router.get("", summary="List orders", responses=responses(CursorInvalid, RoleRequired, *CALLER_PROBLEMS))
async def list_orders(
    request: Request,
    *,
    actor: CurrentActor,
    sessions: SessionsDep,
    params: PageParams,
    user_id: Annotated[UUID | None, Query(description="Whose; for support and admins, who see all without it.")] = None,
    status: OrderStatus | None = None,
    number: Annotated[OrderNumber | None, Query(description="The one with this number.")] = None,
    stuck: Annotated[bool, Query(description="Only those that are pending past their deadline.")] = False,
) -> Page[OrderSummaryView]:
    """Newest first. Customers see their own."""
    if not actor.is_staff:
        if user_id not in (None, actor.user_id):
            raise RoleRequired
        user_id = actor.user_id
    query = queries.orders_newest_first(user_id=user_id, status=status, number=number, stuck=stuck)
    async with sessions() as session:
        return await page_of(
            session,
            query,
            request=request,
            params=params,
            map=lambda order, customer: queries.summary_of(order, customer, actor=actor),
        )


@router.get("/{order_id}", summary="Read an order", responses=responses(OrderNotFound, *CALLER_PROBLEMS))
async def read_order(order_id: UUID, *, response: Response, actor: CurrentActor, sessions: SessionsDep) -> OrderView:
    """With its items, and what happened to it so far."""
    async with sessions() as session:
        order, body = await _shown(session, order_id, actor=actor)
    response.headers["ETag"] = etag_of(order.version)
    return body


@router.post("/{order_id}/cancel", summary="Cancel an order", responses=responses(*CHANGE_PROBLEMS))
async def cancel_order(
    order_id: UUID,
    *,
    response: Response,
    actor: CurrentActor,
    sessions: SessionsDep,
    cache: CacheDep,
    version: OptionalIfMatch,
) -> OrderView:
    """Possible until it is shipped."""
    async with sessions.begin() as session:
        await commands.cancel_order(session, order_id=order_id, actor=actor, expected_version=version)
        order, body = await _shown(session, order_id, actor=actor)
    await _invalidate_products(cache, (item.sku for item in order.items))
    return _changed("order_cancelled", order, body, response)


@router.post("/{order_id}/ship", summary="Ship an order", responses=responses(RoleRequired, *CHANGE_PROBLEMS))
async def ship_order(
    order_id: UUID,
    *,
    response: Response,
    actor: StaffActor,
    sessions: SessionsDep,
    cache: CacheDep,
    version: OptionalIfMatch,
) -> OrderView:
    """The goods of a confirmed order have left."""
    async with sessions.begin() as session:
        await commands.ship_order(session, order_id=order_id, actor=actor, expected_version=version)
        order, body = await _shown(session, order_id, actor=actor)
    await _invalidate_products(cache, (item.sku for item in order.items))
    return _changed("order_shipped", order, body, response)


@router.post(
    "/{order_id}/deliver", summary="Mark an order as delivered", responses=responses(RoleRequired, *CHANGE_PROBLEMS)
)
async def deliver_order(
    order_id: UUID, *, response: Response, actor: StaffActor, sessions: SessionsDep, version: OptionalIfMatch
) -> OrderView:
    """The goods of a shipped order have arrived."""
    async with sessions.begin() as session:
        await commands.deliver_order(session, order_id=order_id, actor=actor, expected_version=version)
        order, body = await _shown(session, order_id, actor=actor)
    return _changed("order_delivered", order, body, response)


@router.post(
    "/{order_id}/refunds",
    status_code=201,
    response_model=OrderView,
    summary="Refund an order, in part or whole",
    responses=responses(RefundExceedsTotal, RoleRequired, *KEY_PROBLEMS, *CHANGE_PROBLEMS),
)
async def refund_order(
    order_id: UUID,
    *,
    body: NewRefund,
    request: Request,
    actor: StaffActor,
    sessions: SessionsDep,
    version: OptionalIfMatch,
    key: IdempotencyKey = None,
) -> Response:
    """Of a shipped or delivered order; answers with the order."""

    async def refund(session: AsyncSession) -> Response:
        await commands.refund_order(
            session,
            order_id=order_id,
            actor=actor,
            amount_cents=body.amount_cents,
            reason=body.reason,
            expected_version=version,
        )
        order, answer = await _shown(session, order_id, actor=actor)
        return created(answer, location=f"/v1/orders/{order_id}", version=order.version)

    response = await run_idempotently(
        sessions, request=request, caller_id=actor.user_id, key=key, body=body, action=refund
    )
    if not is_repeat(response):
        logger.info("order_refunded", order_id=str(order_id))
    return response


async def _shown(session: AsyncSession, order_id: UUID, *, actor: Actor) -> tuple[Order, OrderView]:
    order, customer = await queries.order_with_details(session, order_id, actor=actor)
    return order, queries.body_of(order, customer, actor=actor)


def _changed(event: str, order: Order, body: OrderView, response: Response) -> OrderView:
    """After the commit: log the fact, and answer with the new version."""
    logger.info(event, order_id=str(order.id), version=order.version)
    response.headers["ETag"] = etag_of(order.version)
    return body


async def _invalidate_products(cache: Cache, skus: Iterable[str]) -> None:
    await cache.invalidate(*(queries.product_cache_key(sku) for sku in skus))

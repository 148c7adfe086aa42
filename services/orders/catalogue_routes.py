"""The catalogue over HTTP: anyone reads it, admins change it."""

from operator import attrgetter
from typing import Annotated

import structlog
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from services.orders import catalogue_commands, queries
from services.orders.catalogue_commands import SkuTaken
from services.orders.dependencies import IsStaff, SettingsDep, admin_only, created, is_repeat
from services.orders.models import ProductNotFound, StockBelowReserved
from services.orders.schemas import SKU_PATTERN, CachedProduct, NewProduct, ProductChanges, ProductView
from shared.errors import PreconditionFailed, PreconditionRequired
from shared.http.auth import RoleRequired, TokenMissing, public
from shared.http.dependencies import CacheDep, SessionsDep
from shared.http.etags import IfMatch, etag_of
from shared.http.idempotency import IdempotencyKey, IdempotencyKeyInUse, IdempotencyKeyReused, run_idempotently
from shared.http.pagination import CursorInvalid, Page, PageParams, page_of
from shared.http.problems import responses
from shared.http.tokens import KeysUnavailable, Principal, TokenExpired, TokenInvalid

logger = structlog.get_logger(__name__)
router = APIRouter(prefix="/v1/products", tags=["products"], generate_unique_id_function=attrgetter("name"))

TOKEN_PROBLEMS = (TokenInvalid, TokenExpired, KeysUnavailable)
ADMIN_PROBLEMS = (TokenMissing, *TOKEN_PROBLEMS, RoleRequired)

SkuInPath = Annotated[str, Path(pattern=SKU_PATTERN, examples=["85123A"])]
AdminCaller = Annotated[Principal, Depends(admin_only)]


@router.get(
    "",
    dependencies=[Depends(public)],
    summary="List products",
    responses=responses(CursorInvalid, RoleRequired, *TOKEN_PROBLEMS),
)
async def list_products(
    request: Request,
    *,
    sessions: SessionsDep,
    params: PageParams,
    is_staff: IsStaff,
    search: Annotated[
        str | None, Query(min_length=3, max_length=100, pattern=r"^[^\x00]*$", description="Part of the name.")
    ] = None,
    active: Annotated[bool, Query(description="`false` lists what is not for sale; for support and admins.")] = True,
) -> Page[ProductView]:
    """What is for sale, by sku."""
    if not (active or is_staff):
        raise RoleRequired
    async with sessions() as session:
        query = queries.products_by_sku(search=search, active=active)
        return await page_of(session, query, request=request, params=params, map=ProductView.model_validate)


@router.get(
    "/{sku}",
    dependencies=[Depends(public)],
    summary="Read a product",
    responses=responses(ProductNotFound, *TOKEN_PROBLEMS),
)
async def read_product(
    sku: SkuInPath,
    *,
    response: Response,
    sessions: SessionsDep,
    cache: CacheDep,
    settings: SettingsDep,
    is_staff: IsStaff,
) -> ProductView:
    """One that is not for sale is shown to support and admins only."""

    async def load() -> CachedProduct:
        async with sessions() as session:
            return await queries.product_by_sku(session, sku)

    product = await cache.get_or_load(
        queries.product_cache_key(sku), ttl=settings.product_cache_ttl, load=load, model=CachedProduct
    )
    if not (product.active or is_staff):
        raise ProductNotFound
    response.headers["ETag"] = etag_of(product.version)
    return product


@router.post(
    "",
    status_code=201,
    response_model=ProductView,
    summary="Add a product",
    responses=responses(SkuTaken, IdempotencyKeyInUse, IdempotencyKeyReused, *ADMIN_PROBLEMS),
)
async def create_product(
    body: NewProduct, *, request: Request, caller: AdminCaller, sessions: SessionsDep, key: IdempotencyKey = None
) -> Response:
    """It is for sale at once."""

    async def create(session: AsyncSession) -> Response:
        product = await catalogue_commands.create_product(session, body)
        return created(
            ProductView.model_validate(product), location=f"/v1/products/{product.sku}", version=product.version
        )

    response = await run_idempotently(
        sessions, request=request, caller_id=caller.user_id, key=key, body=body, action=create
    )
    if not is_repeat(response):
        logger.info("product_created", sku=body.sku)
    return response


@router.patch(
    "/{sku}",
    summary="Change a product",
    responses=responses(ProductNotFound, StockBelowReserved, PreconditionFailed, PreconditionRequired, *ADMIN_PROBLEMS),
)
async def change_product(
    sku: SkuInPath,
    *,
    body: ProductChanges,
    response: Response,
    _caller: AdminCaller,
    sessions: SessionsDep,
    cache: CacheDep,
    version: IfMatch,
) -> ProductView:
    """Placed orders keep their prices. Stock can't be less than open orders hold."""
    async with sessions.begin() as session:
        product = await catalogue_commands.change_product(session, sku=sku, changes=body, expected_version=version)
    await cache.invalidate(queries.product_cache_key(sku))
    logger.info("product_changed", sku=sku, version=product.version)
    response.headers["ETag"] = etag_of(product.version)
    return ProductView.model_validate(product)

"""Routes of the catalogue: anyone reads it, admins change it."""

from typing import Annotated

import structlog
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from services.orders import catalogue_commands, queries
from services.orders.catalogue_commands import SkuTaken
from services.orders.dependencies import (
    FOR_SALE,
    NOT_FOR_SALE,
    ListProductsPermit,
    ReadProductPermit,
    SettingsDep,
)
from services.orders.models import StockBelowReserved
from services.orders.queries import ProductNotFound
from services.orders.schemas import (
    CACHED_PRODUCT_VERSION,
    SKU_PATTERN,
    CachedProduct,
    NewProduct,
    ProductChanges,
    ProductView,
)
from shared.http.auth import Permit, admin_only
from shared.http.dependencies import CacheDep, SessionsDep
from shared.http.etags import IfMatch, etag_of
from shared.http.idempotency import IdempotencyKey, run_idempotently
from shared.http.pagination import Page, PageParams, page_of
from shared.http.problems import responses
from shared.http.responses import CREATED, VERSIONED, created, is_repeat

logger = structlog.get_logger(__name__)
router = APIRouter(prefix="/v1/products", tags=["products"])

SkuInPath = Annotated[str, Path(pattern=SKU_PATTERN, examples=["85123A"])]
AdminCaller = Annotated[Permit, Depends(admin_only)]


@router.get("", summary="List products")
async def list_products(
    request: Request,
    *,
    sessions: SessionsDep,
    params: PageParams,
    permit: ListProductsPermit,
    search: Annotated[
        str | None, Query(min_length=3, max_length=100, pattern=r"^[^\x00]*$", description="Part of the name.")
    ] = None,
    active: Annotated[
        bool, Query(description="`false` lists products that are not for sale. For support and admins.")
    ] = True,
) -> Page[ProductView]:
    """Return the products that are for sale, ordered by SKU."""
    permit.check(FOR_SALE if active else NOT_FOR_SALE)
    async with sessions() as session:
        query = queries.products_by_sku(search=search, active=active)
        return await page_of(session, query, request=request, params=params, map=ProductView.model_validate)


@router.get(
    "/{sku}",
    summary="Read a product",
    responses=VERSIONED | responses(ProductNotFound),
)
async def read_product(
    sku: SkuInPath,
    *,
    response: Response,
    sessions: SessionsDep,
    cache: CacheDep,
    settings: SettingsDep,
    permit: ReadProductPermit,
) -> ProductView:
    """Return one product. Only support and admins can read a product that is not for sale."""

    async def load() -> CachedProduct:
        async with sessions() as session:
            return CachedProduct.model_validate(await queries.product_by_sku(session, sku))

    product = await cache.get_or_load(
        queries.product_cache_key(sku),
        ttl=settings.product_cache_ttl,
        load=load,
        model=CachedProduct,
        version=CACHED_PRODUCT_VERSION,
    )
    permit.check(FOR_SALE if product.active else NOT_FOR_SALE)
    response.headers["ETag"] = etag_of(product.version, product.available)
    return product


@router.post(
    "", status_code=201, response_model=ProductView, summary="Create a product", responses=CREATED | responses(SkuTaken)
)
async def create_product(
    body: NewProduct, *, request: Request, caller: AdminCaller, sessions: SessionsDep, key: IdempotencyKey = None
) -> Response:
    """Create a product, which is for sale at once. For admins."""

    async def create(session: AsyncSession) -> Response:
        product = await catalogue_commands.create_product(session, body)
        return created(
            ProductView.model_validate(product),
            location=f"/v1/products/{product.sku}",
            version=product.version,
            beside=[product.available],
        )

    response = await run_idempotently(
        sessions, request=request, caller_id=caller.user_id, key=key, body=body, action=create
    )
    if not is_repeat(response):
        logger.info("product_created", sku=body.sku)
    return response


@router.patch(
    "/{sku}", summary="Update a product", responses=VERSIONED | responses(ProductNotFound, StockBelowReserved)
)
async def update_product(
    sku: SkuInPath,
    *,
    body: ProductChanges,
    response: Response,
    _caller: AdminCaller,
    sessions: SessionsDep,
    cache: CacheDep,
    precondition: IfMatch,
) -> ProductView:
    """Change the members in the body. Placed orders keep their prices. For admins.

    The stock can't be lower than what open orders have reserved.
    """
    async with sessions.begin() as session:
        product, is_changed = await catalogue_commands.update_product(
            session, sku=sku, changes=body, precondition=precondition
        )
    await cache.invalidate(queries.product_cache_key(sku))
    if is_changed:
        logger.info("product_updated", sku=sku, version=product.version)
    response.headers["ETag"] = etag_of(product.version, product.available)
    return ProductView.model_validate(product)

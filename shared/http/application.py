"""The HTTP side that every service shares: request context, problems, body limit, rate limit, metrics."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager

from fastapi import APIRouter, Depends, FastAPI, Request

from shared.http import gateway_errors
from shared.http.body_limit import BodyLimitMiddleware
from shared.http.documentation import openapi_router
from shared.http.metrics import metrics_router
from shared.http.openapi import OPERATION_ID, complete_openapi
from shared.http.problems import (
    BodyMalformed,
    BodyTooLarge,
    InternalError,
    ValidationFailed,
    install_problems,
    responses,
)
from shared.http.rate_limit import RateLimited, RateLimiter, rate_limit
from shared.http.request_context import RequestContextMiddleware
from shared.settings import ServiceSettings

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def create_application(
    *,
    name: str,
    description: str,
    settings: ServiceSettings,
    routers: Sequence[APIRouter],
    lifespan: Lifespan,
    state: Mapping[str, object],
) -> FastAPI:
    """`state` goes to `app.state`, where dependencies find it; `cache` and `token_verifier` must be in it."""
    limit = rate_limit("default", settings.rate_limit)

    async def default_rate_limit(request: Request) -> None:
        # Probes and published keys must be answered however often they are asked for.
        if request.url.path.startswith("/v1/"):
            await limit(request)

    app = FastAPI(
        title=f"Orderly {name}",
        description=description,
        version="1",
        lifespan=lifespan,
        docs_url=None,  # its page loads from a CDN: openapi_router has one that does not
        redoc_url=None,
        redirect_slashes=False,  # the redirect would name this host, which the gateway hides
        generate_unique_id_function=OPERATION_ID,
        dependencies=[Depends(default_rate_limit)],
        responses=responses(BodyMalformed, BodyTooLarge, ValidationFailed, RateLimited, InternalError),
    )
    for attribute, value in state.items():
        setattr(app.state, attribute, value)
    app.state.rate_limiter = RateLimiter(app.state.cache)
    install_problems(app)
    complete_openapi(app)
    for router in (*routers, gateway_errors.router, metrics_router, openapi_router(app)):
        app.include_router(router)
    app.add_middleware(BodyLimitMiddleware)
    app.add_middleware(RequestContextMiddleware)  # added last, so outermost: it sees every answer
    return app

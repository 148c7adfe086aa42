"""A service's FastAPI application, with the middleware, problems, limits and documentation that all services share."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager

from fastapi import APIRouter, Depends, FastAPI

from shared.http.admission import Admission, AdmissionMiddleware
from shared.http.body_limit import BodyLimitMiddleware
from shared.http.cors import allow_origins
from shared.http.documentation import offer_password_grant, openapi_router
from shared.http.etags import NotModifiedMiddleware
from shared.http.methods import MethodsMiddleware
from shared.http.metrics import metrics_router
from shared.http.openapi import OPERATION_ID, complete_openapi
from shared.http.parameters import check_parameters
from shared.http.problems import install_problems
from shared.http.rate_limit import RateLimiter
from shared.http.request_context import RequestContextMiddleware
from shared.http.route_limits import RequestLimits
from shared.settings import ServiceSettings

_CONVENTIONS = """
- Errors are problem details (RFC 9457) in `application/problem+json`, with a stable `code` for programs to depend on.
- Lists are paginated: pass the `next_cursor` of a page as `cursor` to get the next one.
- Every `GET` also works as `HEAD`. If `If-None-Match` names the `ETag` of the response, it is a 304 without a body.
- A change with `If-Match` is made only if the resource still has one of the listed versions; `*` stands for any.
- A `POST` with an `Idempotency-Key` has one effect, however often it is sent: each repeat gets the first response.
- Unknown members of a body, unknown or repeated query parameters, and values in another spelling are refused.
- The rate of a caller's requests is limited: `RateLimit` and `RateLimit-Policy` say how many are left, and the
  `Retry-After` of a 429 when to send more. An overloaded service responds with 503 `overloaded` and `Retry-After`.
- Amounts are integers in the currency's smallest unit; times are in RFC 3339 format.
- Every response has an `X-Request-Id`. Include it when you report a problem.
"""

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
    """Create the application. `state` is copied to `app.state`; it must hold `cache` and `token_verifier`."""
    limits = RequestLimits(default=settings.rate_limit, changed=settings.route_rate_limits)
    app = FastAPI(
        title=f"Orderly {name}",
        description=f"{description}\n{_CONVENTIONS}",
        version="1",
        license_info={"name": "MIT", "identifier": "MIT"},
        servers=[{"url": "/", "description": "The gateway, or the service itself."}],
        lifespan=lifespan,
        docs_url=None,  # FastAPI's page loads its assets from a CDN; openapi_router serves them itself
        redoc_url=None,
        redirect_slashes=False,  # the redirect would name the host behind the gateway
        generate_unique_id_function=OPERATION_ID,
        dependencies=[Depends(limits)],
    )
    for attribute, value in state.items():
        setattr(app.state, attribute, value)
    app.state.rate_limiter = RateLimiter(app.state.cache)
    install_problems(app)
    complete_openapi(app, limits)
    offer_password_grant(app)
    for router in (*routers, metrics_router, openapi_router(app)):
        app.include_router(router)
    check_parameters(app)
    limits.read_routes(app)
    app.state.request_limits = limits
    _add_middleware(app, settings)
    return app


def _add_middleware(app: FastAPI, settings: ServiceSettings) -> None:
    """Add the middleware, the innermost first."""
    admission = Admission(max_in_progress=settings.max_concurrent_requests, max_waiting=settings.max_waiting_requests)
    app.add_middleware(MethodsMiddleware, application=app)
    app.add_middleware(NotModifiedMiddleware)
    app.add_middleware(AdmissionMiddleware, admission=admission)
    app.add_middleware(BodyLimitMiddleware)
    # Sees every response but those to preflight requests.
    app.add_middleware(RequestContextMiddleware, admission=admission)
    allow_origins(app, settings.cors_origins)

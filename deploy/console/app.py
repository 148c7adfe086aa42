"""The composition root of the console."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from fastapi import FastAPI
from starlette.middleware.gzip import GZipMiddleware
from starlette.staticfiles import StaticFiles

from deploy.console.access import pages as access_pages
from deploy.console.access.deployed import DeployedAccess
from deploy.console.access.local import LocalAccess
from deploy.console.access.operator import Access
from deploy.console.access.same_origin import SAME_ORIGIN
from deploy.console.break_it import routes as break_it_routes
from deploy.console.break_it.load import LoadRunner
from deploy.console.dead_letters import pages as dead_letter_pages
from deploy.console.dead_letters import routes as dead_letter_routes
from deploy.console.exports import routes as export_routes
from deploy.console.exports.archive import MAX_FILE_BYTES
from deploy.console.exports.opened import OpenedExports
from deploy.console.flow import routes as flow_routes
from deploy.console.invariants import routes as invariant_routes
from deploy.console.journey import routes as journey_routes
from deploy.console.logs import routes as logs_routes
from deploy.console.metrics import routes as metric_routes
from deploy.console.observation.observer import Observer
from deploy.console.rendering import FOLDER
from deploy.console.services import Services
from deploy.console.settings import ConsoleSettings
from deploy.console.stuck import routes as stuck_routes
from deploy.console.system import routes as system_routes
from deploy.console.telemetry.receiver import Receiver
from deploy.console.telemetry.server import serving
from deploy.console.telemetry.store import Bounds, TelemetryStore
from deploy.console.traces import routes as traces_routes
from deploy.local.control_client import ControlClient
from shared.health import Health
from shared.http.body_limit import BodyLimitMiddleware
from shared.http.documentation import openapi_router
from shared.http.health import health_router
from shared.http.metrics import metrics_router
from shared.http.openapi import OPERATION_ID
from shared.http.problems import install_problems
from shared.http.request_context import RequestContextMiddleware
from shared.http.revocations import RevocationList
from shared.http.tokens import TokenVerifier
from shared.http.users_client import UsersClient

ROUTERS = (
    *(system_routes.router, system_routes.pages),
    *(flow_routes.router, flow_routes.pages),
    *(journey_routes.router, journey_routes.pages),
    *(traces_routes.router, traces_routes.pages),
    *(logs_routes.router, logs_routes.pages),
    *(dead_letter_routes.router, dead_letter_pages.pages),
    *(stuck_routes.router, stuck_routes.pages),
    *(invariant_routes.router, invariant_routes.pages),
    *(break_it_routes.router, break_it_routes.pages),
    *(export_routes.router, export_routes.pages),
    metric_routes.router,
)


def create_app(settings: ConsoleSettings) -> FastAPI:
    """Compose the console. Nothing connects before it starts."""
    services = Services(settings.service_urls)
    others = {"audit": settings.audit_url, "backup": settings.backup_url}
    observer = Observer(settings.service_urls, others={name: url for name, url in others.items() if url})
    access = _access(settings, services)

    telemetry = _telemetry(settings)
    receiver = Receiver(telemetry)
    opened_exports = OpenedExports(settings.folder / "opened")
    load = LoadRunner()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await telemetry.open()
        observing = asyncio.create_task(observer.run())
        async with serving(receiver.app, host=settings.otlp_host, port=settings.otlp_port) as otlp_port:
            app.state.otlp_port = otlp_port
            yield
        observing.cancel()
        await asyncio.wait({observing})
        await load.stop()
        await opened_exports.close_all()
        await telemetry.close()
        await access.close()
        await services.close()

    app = FastAPI(
        title="Orderly console",
        description="The state of the system, the journey of an order, and the operations that help.",
        version="1",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=OPERATION_ID,
        dependencies=[SAME_ORIGIN],
    )
    app.state.settings, app.state.services, app.state.observer, app.state.access = settings, services, observer, access
    app.state.control = ControlClient(settings.control_socket) if settings.control_socket is not None else None
    app.state.telemetry, app.state.opened_exports, app.state.load = telemetry, opened_exports, load
    app.state.health = Health("console", checks={}, critical=frozenset())
    install_problems(app)
    for router in (*ROUTERS, health_router(app.state.health), metrics_router, openapi_router(app)):
        app.include_router(router)
    if not settings.is_local:
        app.include_router(access_pages.router)
    app.mount("/static", StaticFiles(directory=FOLDER / "static"))
    app.add_middleware(GZipMiddleware, minimum_size=2_000)
    app.add_middleware(BodyLimitMiddleware, larger={"/exports/opened": MAX_FILE_BYTES})
    app.add_middleware(RequestContextMiddleware)
    return app


def _telemetry(settings: ConsoleSettings) -> TelemetryStore:
    bounds = Bounds(
        retention=timedelta(minutes=settings.retention_minutes),
        max_rows=settings.max_spans,
        max_bytes=settings.max_telemetry_megabytes * 1_000_000,
    )
    return TelemetryStore(settings.folder, bounds)


def _access(settings: ConsoleSettings, services: Services) -> Access:
    if settings.local_admin_password_file is not None:
        return LocalAccess(services, email=settings.local_admin_email, password_file=settings.local_admin_password_file)
    users = UsersClient(settings.users_url, token=settings.users_token or "")
    verifier = TokenVerifier(users.key_set, issuer=settings.token_issuer, revocations=RevocationList(users.revocations))
    return DeployedAccess(services, verifier)

"""The composition root of the console."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from datetime import timedelta
from functools import partial

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
from deploy.console.telemetry.forwarding import Forwarder
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

MIN_COMPRESSED_BYTES = 2_000
"""Size of a response from which it is compressed."""
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


@dataclass(frozen=True)
class _Parts:
    """The parts of the console. Those that routes use are in `app.state`, under the same names."""

    settings: ConsoleSettings
    services: Services
    observer: Observer
    access: Access
    control: ControlClient | None
    telemetry: TelemetryStore
    forwarder: Forwarder | None
    opened_exports: OpenedExports
    load: LoadRunner


def create_app(settings: ConsoleSettings) -> FastAPI:
    """Compose the console. Nothing connects before it starts."""
    parts = _parts(settings)
    app = FastAPI(
        title="Orderly console",
        description="The state of the system, the journey of an order, and the operations that help.",
        version="1",
        lifespan=partial(_running, parts),
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=OPERATION_ID,
        dependencies=[SAME_ORIGIN],
    )
    for part in fields(parts):
        setattr(app.state, part.name, getattr(parts, part.name))
    app.state.health = Health("console", checks={}, critical=frozenset())
    install_problems(app)
    for router in (*ROUTERS, health_router(app.state.health), metrics_router, openapi_router(app)):
        app.include_router(router)
    if not settings.is_local:
        app.include_router(access_pages.router)
    app.mount("/static", StaticFiles(directory=FOLDER / "static"))
    app.add_middleware(GZipMiddleware, minimum_size=MIN_COMPRESSED_BYTES)
    app.add_middleware(BodyLimitMiddleware, larger={"/exports/opened": MAX_FILE_BYTES})
    app.add_middleware(RequestContextMiddleware)
    return app


def _parts(settings: ConsoleSettings) -> _Parts:
    services = Services(settings.service_urls)
    others = {"audit": settings.audit_url, "backup": settings.backup_url}
    return _Parts(
        settings=settings,
        services=services,
        observer=Observer(settings.service_urls, others={name: url for name, url in others.items() if url}),
        access=_access(settings, services),
        control=ControlClient(settings.control_socket) if settings.control_socket is not None else None,
        telemetry=_telemetry(settings),
        forwarder=Forwarder(settings.otlp_forward_endpoint) if settings.otlp_forward_endpoint else None,
        opened_exports=OpenedExports(settings.folder / "opened"),
        load=LoadRunner(),
    )


@asynccontextmanager
async def _running(parts: _Parts, app: FastAPI) -> AsyncIterator[None]:
    """Run the receiver and the loops until the block ends; then close everything."""
    settings = parts.settings
    receiver = Receiver(parts.telemetry, forwarder=parts.forwarder)
    await parts.telemetry.open()
    tasks = [asyncio.create_task(loop.run()) for loop in (parts.observer, parts.forwarder) if loop is not None]
    async with serving(receiver.app, host=settings.otlp_host, port=settings.otlp_port) as otlp_port:
        app.state.otlp_port = otlp_port
        yield
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    await parts.load.stop()
    await parts.opened_exports.close_all()
    await parts.telemetry.close()
    await parts.access.close()
    await parts.services.close()


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

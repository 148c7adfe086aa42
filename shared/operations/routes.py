"""The admin routes of one service, under /v1/operations/<service>."""

from fastapi import APIRouter
from fastapi.routing import APIRoute

from shared.operations import (
    actions_routes,
    dead_letters_routes,
    events_routes,
    jobs_routes,
    journeys_routes,
    positions_routes,
    sending_routes,
)


def operations_router(service: str, *, republishes: bool) -> APIRouter:
    """Return the admin routes. Operation ids end in the service's name: the gateway merges all services' documents."""

    def name_of(route: APIRoute) -> str:
        return f"{route.name}_of_{service}"

    router = APIRouter(prefix=f"/v1/operations/{service}", tags=["operations"], generate_unique_id_function=name_of)
    for each in (
        dead_letters_routes.router,
        positions_routes.router,
        sending_routes.outbox_router,
        events_routes.router,
        journeys_routes.router,
        jobs_routes.router,
        actions_routes.router,
    ):
        router.include_router(each)
    if republishes:
        router.include_router(sending_routes.republication_router)
    return router

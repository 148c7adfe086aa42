"""The composition root of the orders service."""

from pathlib import Path

from fastapi import FastAPI

from services.orders import catalogue_routes, journey_routes, routes
from services.orders.jobs import REPUBLISHED, order_jobs
from services.orders.journey import Journeys
from services.orders.journey_parts import PART_TIMEOUT_SECONDS, OtherServices
from services.orders.order_metrics import ORDERS
from services.orders.order_records import records_of_order
from services.orders.settings import Settings
from services.orders.subscribers import SUBSCRIPTIONS
from shared.http.revocations import RevocationList
from shared.http.service_client import ServiceClient
from shared.http.tokens import TokenVerifier
from shared.http.users_client import UsersClient
from shared.operations.dependencies import ServiceRecords
from shared.personal_keys import PersonalKeys
from shared.sealed_contacts import SEALED_CONTACTS
from shared.service import create_service


def create_app(settings: Settings) -> FastAPI:
    """Compose the service. Nothing connects before it starts."""
    users = UsersClient(settings.users_url, token=settings.users_token, ca_file=settings.users_ca_file)
    others = _other_services(settings)
    app = create_service(
        name="orders",
        description="The catalogue, its stock, and orders.",
        settings=settings,
        routers=[catalogue_routes.router, routes.router, journey_routes.router, journey_routes.stuck_router],
        subscriptions=SUBSCRIPTIONS,
        jobs=order_jobs(keys=PersonalKeys(users.personal_keys)),
        measurements=[ORDERS, SEALED_CONTACTS],
        republished=REPUBLISHED,
        records=ServiceRecords(journey=records_of_order),
        token_verifier=TokenVerifier(
            users.key_set,
            issuer=settings.token_issuer,
            revocations=RevocationList(users.revocations),
            clock_tolerance=settings.clock_tolerance,
        ),
        state={"settings": settings},
        closing=[users.close, others.close],
    )
    app.state.journeys = Journeys(app.state.sessions, app.state.operations.journeys, others)
    return app


def _other_services(settings: Settings) -> OtherServices:
    """Return the clients that ask the other services for their parts of a journey."""

    def client(url: str | None, ca_file: Path | None) -> ServiceClient | None:
        return None if url is None else ServiceClient(url, ca_file=ca_file, timeout_seconds=PART_TIMEOUT_SECONDS)

    return OtherServices(
        {
            "users": client(settings.users_url, settings.users_ca_file),
            "notifications": client(settings.notifications_url, settings.notifications_ca_file),
        }
    )

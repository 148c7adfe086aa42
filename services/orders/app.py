"""The composition root of the orders service."""

from fastapi import FastAPI

from services.orders import catalogue_routes, routes
from services.orders.jobs import REPUBLISHED, order_jobs
from services.orders.order_metrics import ORDERS
from services.orders.settings import Settings
from services.orders.subscribers import SUBSCRIPTIONS
from shared.http.revocations import RevocationList
from shared.http.tokens import TokenVerifier
from shared.http.users_client import UsersClient
from shared.personal_keys import PersonalKeys
from shared.sealed_contacts import SEALED_CONTACTS
from shared.service import create_service


def create_app(settings: Settings) -> FastAPI:
    """Compose the service. Nothing connects before it starts."""
    users = UsersClient(settings.users_url, token=settings.users_token, ca_file=settings.users_ca_file)
    return create_service(
        name="orders",
        description="The catalogue, its stock, and orders.",
        settings=settings,
        routers=[catalogue_routes.router, routes.router],
        subscriptions=SUBSCRIPTIONS,
        jobs=order_jobs(keys=PersonalKeys(users.personal_keys)),
        measurements=[ORDERS, SEALED_CONTACTS],
        republished=REPUBLISHED,
        token_verifier=TokenVerifier(
            users.key_set,
            issuer=settings.token_issuer,
            revocations=RevocationList(users.revocations),
            clock_tolerance=settings.clock_tolerance,
        ),
        state={"settings": settings},
        closing=[users.close],
    )

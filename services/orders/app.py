"""The composition root of the orders service."""

from fastapi import FastAPI

from services.orders import catalogue_routes, routes
from services.orders.jobs import REPUBLISHED, jobs
from services.orders.settings import Settings
from services.orders.subscribers import SUBSCRIPTIONS
from shared.http.tokens import TokenVerifier, remote_keys
from shared.service import create_service


def create_app(settings: Settings) -> FastAPI:
    """Compose the service. Nothing connects before it starts."""
    return create_service(
        name="orders",
        description="The catalogue, its stock, and orders.",
        settings=settings,
        routers=[catalogue_routes.router, routes.router],
        subscriptions=SUBSCRIPTIONS,
        jobs=jobs,
        republished=REPUBLISHED,
        token_verifier=TokenVerifier(
            remote_keys(settings.jwks_url, ca_file=settings.jwks_ca_file), issuer=settings.token_issuer
        ),
        state={"settings": settings},
    )

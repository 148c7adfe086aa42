"""The composition root of the users service."""

from datetime import timedelta

from fastapi import FastAPI

from services.users.accounts import routes as account_routes
from services.users.administration import routes as administration_routes
from services.users.credentials.passwords import Passwords
from services.users.credentials.throttling import SignInLimits, SignInThrottle
from services.users.credit import routes as credit_routes
from services.users.jobs import REPUBLISHED, jobs
from services.users.security_record import routes as security_record_routes
from services.users.sessions import key_routes
from services.users.sessions import routes as session_routes
from services.users.sessions.access_tokens import AccessTokens, load_signing_keys
from services.users.settings import Settings
from services.users.subscribers import SUBSCRIPTIONS
from shared.http.tokens import TokenVerifier
from shared.service import create_service


def create_app(settings: Settings) -> FastAPI:
    """Compose the service. Nothing connects before it starts. Raises: SigningKeysInvalid."""
    access_tokens = AccessTokens(
        load_signing_keys(settings.signing_keys_file),
        issuer=settings.token_issuer,
        lifetime=settings.access_token_lifetime,
    )
    app = create_service(
        name="users",
        description="Accounts, sessions and credit.",
        settings=settings,
        routers=[
            account_routes.router,
            credit_routes.router,
            session_routes.router,
            key_routes.router,
            security_record_routes.router,
            administration_routes.router,
        ],
        subscriptions=SUBSCRIPTIONS,
        jobs=jobs,
        republished=REPUBLISHED,
        token_verifier=TokenVerifier(access_tokens.keys, issuer=settings.token_issuer),
        state={
            "settings": settings,
            "access_tokens": access_tokens,
            "passwords": Passwords(concurrency=settings.password_hashing_concurrency),
        },
    )
    app.state.sign_in_throttle = SignInThrottle(
        app.state.cache,
        limits=SignInLimits(
            per_account_and_address=settings.sign_in_failures_per_account_and_address,
            per_account=settings.sign_in_failures_per_account,
            per_address=settings.sign_in_failures_per_address,
            window=timedelta(minutes=settings.sign_in_failures_minutes),
        ),
        shared_networks=settings.shared_client_networks,
    )
    return app

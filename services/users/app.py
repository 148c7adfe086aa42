"""The composition root of the users service."""

from datetime import datetime, timedelta

from fastapi import FastAPI

from services.users.accounts import routes as account_routes
from services.users.credentials.passwords import Passwords
from services.users.credentials.throttling import SignInLimits, SignInThrottle
from services.users.credit import routes as credit_routes
from services.users.encryption import load_encryption
from services.users.jobs import REPUBLISHED, jobs
from services.users.sessions import key_routes, oauth_routes
from services.users.sessions import routes as session_routes
from services.users.sessions.access_tokens import AccessTokens
from services.users.sessions.key_ring import KeyRing
from services.users.sessions.queries import revocations_since
from services.users.settings import Settings
from services.users.subscribers import SUBSCRIPTIONS
from shared.http.revocations import RevocationList, Revocations
from shared.http.tokens import TokenVerifier
from shared.service import create_service


def create_app(settings: Settings) -> FastAPI:
    """Compose the service. Nothing connects before it starts. Raises: EncryptionKeysInvalid."""
    encryption = load_encryption(settings.encryption_keys_file)
    keys = KeyRing(lambda: app.state.sessions, encryption=encryption)

    async def revocations(since: datetime | None) -> Revocations:
        async with app.state.sessions() as session:
            return await revocations_since(session, since=since, tokens_valid_for=settings.tokens_valid_for)

    app = create_service(
        name="users",
        description="Accounts, sessions and credit.",
        settings=settings,
        routers=[
            account_routes.router,
            credit_routes.router,
            session_routes.router,
            oauth_routes.router,
            key_routes.router,
        ],
        subscriptions=SUBSCRIPTIONS,
        jobs=jobs,
        republished=REPUBLISHED,
        token_verifier=TokenVerifier(
            keys.key_set,
            issuer=settings.token_issuer,
            revocations=RevocationList(revocations),
            clock_tolerance=settings.clock_tolerance,
        ),
        checks={"signing_keys": keys.check},
        state={
            "settings": settings,
            "encryption": encryption,
            "access_tokens": AccessTokens(keys, issuer=settings.token_issuer, lifetime=settings.access_token_lifetime),
            "service_tokens": settings.service_tokens,
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

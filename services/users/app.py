"""The composition root of the users service."""

from datetime import timedelta

from fastapi import FastAPI

from services.users.accounts import routes as account_routes
from services.users.credentials.passwords import Passwords
from services.users.credentials.throttling import SignInLimits, SignInThrottle
from services.users.credit import routes as credit_routes
from services.users.encryption import load_encryption
from services.users.jobs import REPUBLISHED, jobs
from services.users.passkeys import routes as passkey_routes
from services.users.passkeys import sign_in_routes as passkey_sign_in_routes
from services.users.second_factors import routes as second_factor_routes
from services.users.second_factors import sign_in_routes as second_factor_sign_in_routes
from services.users.sessions import key_routes
from services.users.sessions import routes as session_routes
from services.users.sessions.access_tokens import AccessTokens, load_signing_keys
from services.users.settings import Settings
from services.users.subscribers import SUBSCRIPTIONS
from shared.http.tokens import TokenVerifier
from shared.service import create_service


def create_app(settings: Settings) -> FastAPI:
    """Compose the service. Nothing connects before it starts. Raises: SigningKeysInvalid, EncryptionKeysInvalid."""
    access_tokens = AccessTokens(
        load_signing_keys(settings.signing_keys_file),
        issuer=settings.token_issuer,
        lifetime=settings.access_token_lifetime,
    )
    encryption = load_encryption(settings.encryption_keys_file)
    app = create_service(
        name="users",
        description="Accounts, sessions and credit.",
        settings=settings,
        routers=[
            account_routes.router,
            second_factor_routes.router,
            passkey_routes.router,
            credit_routes.router,
            session_routes.router,
            second_factor_sign_in_routes.router,
            passkey_sign_in_routes.router,
            key_routes.router,
        ],
        subscriptions=SUBSCRIPTIONS,
        jobs=jobs,
        republished=REPUBLISHED,
        token_verifier=TokenVerifier(access_tokens.keys, issuer=settings.token_issuer),
        state={
            "settings": settings,
            "encryption": encryption,
            "access_tokens": access_tokens,
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

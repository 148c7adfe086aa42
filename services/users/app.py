"""The composition root of the users service."""

from datetime import datetime

from fastapi import FastAPI

from services.users.accounts import routes as account_routes
from services.users.administration import routes as administration_routes
from services.users.credentials.state import add_credentials
from services.users.credit import routes as credit_routes
from services.users.data_export import routes as data_export_routes
from services.users.data_export.jobs import DATA_EXPORTS, with_data_exports
from services.users.encryption import Encryption, load_encryption
from services.users.erasure import routes as erasure_routes
from services.users.erasure.jobs import add_erasure_jobs
from services.users.erasure.metrics import ERASURES
from services.users.internal import routes as internal_routes
from services.users.jobs import REPUBLISHED, jobs
from services.users.order_records import ACTION_SOURCES, records_of_order
from services.users.pages import data_routes, profile_routes, security_routes
from services.users.pages import routes as page_routes
from services.users.pages import session_routes as session_page_routes
from services.users.pages import sign_in_routes as sign_in_page_routes
from services.users.passkeys import routes as passkey_routes
from services.users.passkeys import sign_in_routes as passkey_sign_in_routes
from services.users.recovery import email_routes
from services.users.recovery import routes as recovery_routes
from services.users.recovery.jobs import with_recovery
from services.users.second_factors import routes as second_factor_routes
from services.users.second_factors import sign_in_routes as second_factor_sign_in_routes
from services.users.security_record import routes as security_record_routes
from services.users.sessions import key_routes, oauth_routes
from services.users.sessions import routes as session_routes
from services.users.sessions.access_tokens import AccessTokens
from services.users.sessions.key_ring import KeyRing
from services.users.sessions.queries import revocations_since
from services.users.settings import Settings
from services.users.subscribers import SUBSCRIPTIONS
from shared.http.revocations import RevocationList, Revocations
from shared.http.tokens import TokenVerifier
from shared.jobs import Jobs
from shared.operations.dependencies import ServiceRecords
from shared.service import create_service

ROUTERS = (
    account_routes.router,
    email_routes.router,
    recovery_routes.router,
    page_routes.router,
    sign_in_page_routes.router,
    data_routes.router,
    profile_routes.router,
    security_routes.router,
    session_page_routes.router,
    second_factor_routes.router,
    passkey_routes.router,
    credit_routes.router,
    session_routes.router,
    second_factor_sign_in_routes.router,
    passkey_sign_in_routes.router,
    oauth_routes.router,
    key_routes.router,
    security_record_routes.router,
    data_export_routes.router,
    erasure_routes.router,
    administration_routes.router,
    internal_routes.router,
)


def create_app(settings: Settings) -> FastAPI:
    """Compose the service. Nothing connects before it starts. Raises: EncryptionKeysInvalid, FilterInvalid."""
    encryption = load_encryption(settings.encryption_keys_file)
    keys = KeyRing(lambda: app.state.sessions, encryption=encryption)

    async def revocations(since: datetime | None) -> Revocations:
        async with app.state.sessions() as session:
            return await revocations_since(session, since=since, tokens_valid_for=settings.tokens_valid_for)

    app = create_service(
        name="users",
        description="Accounts, sessions and credit.",
        settings=settings,
        routers=ROUTERS,
        subscriptions=SUBSCRIPTIONS,
        jobs=_jobs(settings, encryption=encryption),
        measurements=[DATA_EXPORTS, ERASURES],
        republished=REPUBLISHED,
        records=ServiceRecords(journey=records_of_order, action_sources=ACTION_SOURCES),
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
        },
    )
    add_credentials(app.state, settings)
    return app


def _jobs(settings: Settings, *, encryption: Encryption) -> Jobs:
    """Return the service's jobs with those that need its settings."""
    with_recovery(jobs, settings=settings, encryption=encryption)
    with_data_exports(jobs, settings=settings)
    return add_erasure_jobs(jobs, encryption=encryption)

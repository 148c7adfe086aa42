"""The three services with data to find, each with a token of an admin."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI
from pydantic import SecretStr

import services.notifications.app
import services.notifications.settings
import services.orders.app
import services.orders.settings
import services.users.app
import services.users.settings
from services.orders.catalogue_commands import create_product
from services.orders.schemas import NewProduct
from services.users.accounts.commands import Profile, create_account
from services.users.security_record.commands import Origin
from services.users.sessions.commands import start_session
from shared.ids import new_id
from tests.harness.databases import DatabaseFactory
from tests.harness.encryption_keys import write_encryption_keys
from tests.notifications.events import apply, order_confirmed, user_created
from tests.shared.http.token_issuer import TokenIssuer

USERS: dict[str, object] = {"users_url": "http://127.0.0.1:9", "users_token": "unused"}
LIMITS = ("sign_up_limit_per_email", "mailed_link_limit_per_email", "refresh_limit_per_token")
FREE_FAILURES = ("sign_in_free_failures", "sign_in_free_failures_per_account", "sign_in_free_failures_per_host")
PASSWORD = "correct horse battery"
SKUS = ("FUZZ-1", "FUZZ-2", "FUZZ-3")


@dataclass(frozen=True)
class Subject:
    """A service to test, and what its requests need."""

    app: FastAPI
    token: str
    skus: Sequence[str] = ()


@dataclass(frozen=True)
class Servers:
    """The servers of a test."""

    databases: DatabaseFactory
    valkey_url: str
    folder: Path

    async def settings(self, service: str) -> dict[str, object]:
        """Return the settings that all services have. Nothing connects to Kafka."""
        return {
            "database_url": await self.databases(service),
            "valkey_url": self.valkey_url,
            "kafka_bootstrap_servers": "127.0.0.1:9",
            "http_port": 0,
            "rate_limit": "1000000/second",
            "route_rate_limits": {"*": "1000000/second"},
        }


async def orders(servers: Servers) -> Subject:
    """Return the orders service with some products."""
    settings = await servers.settings("orders") | USERS | {"max_pending_orders": 10_000}
    app = services.orders.app.create_app(services.orders.settings.Settings.model_validate(settings))
    async with app.state.sessions.begin() as session:
        for sku in SKUS:
            product = NewProduct(sku=sku, name=f"Product {sku}", price_cents=250, currency="GBP", stock=1_000_000)
            await create_product(session, product)
    return Subject(app, _accept_tokens(app).token("admin", user_id=new_id()), SKUS)


async def notifications(servers: Servers) -> Subject:
    """Return the notifications service with some notifications of the caller."""
    settings = (
        await servers.settings("notifications")
        | USERS
        | {
            "smtp_url": "smtp://127.0.0.1:9",
            "mail_from": "Orderly <no-reply@orderly.example>",
            "public_url": "http://127.0.0.1:9",
        }
    )
    app = services.notifications.app.create_app(services.notifications.settings.Settings.model_validate(settings))
    user_id = new_id()
    await apply(app.state.sessions, user_created(user_id))
    await apply(app.state.sessions, *(order_confirmed(user_id, number=f"O-{number}") for number in range(3)))
    return Subject(app, _accept_tokens(app).token("admin", user_id=user_id))


async def users(servers: Servers) -> Subject:
    """Return the users service with an account of the caller."""
    settings = await servers.settings("users") | {
        "encryption_keys_file": write_encryption_keys(servers.folder),
        "service_tokens": {"orders": "a token of no use"},
        "webauthn_rp_id": "localhost",
        "webauthn_origins": ("http://localhost",),
        # All requests come from one address, and many of them are refused.
        **dict.fromkeys(LIMITS, "1000000/hour"),
        "shared_client_networks": "127.0.0.0/8",
        **dict.fromkeys(FREE_FAILURES, 1_000_000),
    }
    app = services.users.app.create_app(services.users.settings.Settings.model_validate(settings))
    async with app.state.sessions.begin() as session:
        account = await create_account(
            session,
            profile=Profile("admin@orderly.example", "Ada Lovelace", None, "en", "UTC"),
            password_hash=await app.state.passwords.hash(SecretStr(PASSWORD)),
            credit_limit_cents=100_000,
            credit_currency="GBP",
            roles=("admin",),
        )
        started = await start_session(
            session,
            account=account,
            origin=Origin("127.0.0.1", None),
            methods=["pwd"],
            limits=app.state.settings.session_limits,
        )
    token = _accept_tokens(app).token("admin", user_id=account.id, sid=str(started.session_id))
    return Subject(app, token)


SUBJECTS: Mapping[str, Callable[[Servers], Awaitable[Subject]]] = {
    "orders": orders,
    "notifications": notifications,
    "users": users,
}


def _accept_tokens(app: FastAPI) -> TokenIssuer:
    issuer = TokenIssuer()
    app.state.token_verifier = issuer.verifier()
    return issuer

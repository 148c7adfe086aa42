"""The three services on databases of their own, and accounts of every role that have signed in."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, get_args
from uuid import UUID

import httpx2
from fastapi import FastAPI
from pydantic import SecretStr

import services.notifications.app
import services.notifications.settings
import services.orders.app
import services.orders.settings
import services.users.app
import services.users.settings
from services.users.accounts.commands import Profile, create_account
from services.users.models.accounts import Role, UserAccount
from services.users.models.data_export import EXPORTING_SERVICES, DataExport, DataExportPart
from services.users.models.one_time_tokens import TokenPurpose
from services.users.one_time_tokens.commands import issue_token, token_policy
from shared.database import Sessions
from shared.events.exported_data import ExportedData
from shared.http.auth import ANONYMOUS, SERVICE
from shared.http.tokens import TokenVerifier
from shared.ids import new_id
from tests.harness.asgi import client_of
from tests.harness.databases import DatabaseFactory
from tests.harness.encryption_keys import write_encryption_keys

PASSWORD = "correct horse battery"
_ISSUER = "orderly"
_SERVICE_TOKEN = "the token of orders"


@dataclass(frozen=True)
class Account:
    """An account, and the header and tokens of its sign-in."""

    id: UUID
    email: str
    header: dict[str, str]
    refresh_token: str


@dataclass
class System:
    """The running services, and signed-in accounts: one of each role, another customer and a colleague in support."""

    apps: dict[str, FastAPI]
    clients: dict[str, httpx2.AsyncClient]
    settings: services.users.settings.Settings
    password_hash: str
    accounts: dict[str, Account] = field(default_factory=dict)
    _numbers: Any = field(default_factory=count)

    @property
    def other(self) -> Account:
        """A customer who sends no request of the walk."""
        return self.accounts["other"]

    @property
    def admin(self) -> Account:
        return self.accounts["admin"]

    def header_of(self, role: str) -> dict[str, str]:
        """Return the header with which a caller of this role authenticates."""
        if role == SERVICE:
            return {"Authorization": f"Bearer {_SERVICE_TOKEN}"}
        return {} if role == ANONYMOUS else self.accounts[role].header

    def sessions(self, service: str) -> Sessions:
        sessions: Sessions = self.apps[service].state.sessions
        return sessions

    def number(self) -> int:
        """Return a number that no object has yet."""
        return int(next(self._numbers))

    async def add_account(self, *roles: Role) -> tuple[UUID, str]:
        """Create an account with the password of all and an unverified address, and return its id and address."""
        email = f"user{self.number()}@orderly.example"
        async with self.sessions("users").begin() as session:
            account = await create_account(
                session,
                profile=Profile(email, "Ada Lovelace", None, "en", "UTC"),
                password_hash=self.password_hash,
                credit_limit_cents=100_000,
                credit_currency="GBP",
                roles=roles or ("customer",),
            )
        return account.id, email

    async def signed_in(self, *roles: Role) -> Account:
        """Create an account, and sign in."""
        user_id, email = await self.add_account(*roles)
        credentials = {"email": email, "password": PASSWORD}
        response = await self.clients["users"].post("/v1/sessions", json=credentials)
        assert response.status_code == 201, response.text
        tokens = response.json()
        header = {"Authorization": f"Bearer {tokens['access_token']}"}
        return Account(user_id, email, header, tokens["refresh_token"])

    async def one_time_token(self, purpose: TokenPurpose, *, user_id: UUID | None = None) -> str:
        """Issue a token for an account, by default a new one, as a mailed link has it.

        An account that exists keeps its address: its user signs in with it again.
        """
        keeps_address = user_id is not None
        if user_id is None:
            user_id, _ = await self.add_account()
        async with self.sessions("users").begin() as session:
            account = await session.get_one(UserAccount, user_id, with_for_update=True)
            issued = await issue_token(
                session,
                account=account,
                purpose=purpose,
                email=account.email if keeps_address else self._address_for(purpose, account),
                policy=replace(token_policy(self.settings), max_per_hour=1_000),
            )
        return issued.token

    async def ready_export(self, owner: Account) -> UUID:
        """Insert an export of an account's data that is ready, without content."""
        now = datetime.now(UTC)
        async with self.sessions("users").begin() as session:
            export = DataExport(
                id=new_id(),
                user_id=owner.id,
                status="ready",
                missing=[],
                # Long ago, so that it does not count towards the limit of requests.
                requested_at=now - timedelta(days=2),
                ready_at=now,
                expires_at=now + timedelta(days=1),
            )
            session.add(export)
            parts = [
                DataExportPart(
                    export_id=export.id,
                    service=service,
                    attempt_id=new_id(),
                    part=1,
                    personal=(await session.get_one(UserAccount, owner.id)).seal(ExportedData(facts={}, lists={})),
                )
                for service in EXPORTING_SERVICES
            ]
            await session.flush()  # the foreign key needs the export
            session.add_all(parts)
        return export.id

    def _address_for(self, purpose: TokenPurpose, account: UserAccount) -> str:
        return f"user{self.number()}@orderly.example" if purpose == "change_email" else account.email

    async def send_as_admin(self, service: str, method: str, path: str, json: Any = None) -> httpx2.Response:
        """Send a request that makes an object."""
        response = await self.clients[service].request(method, path, json=json, headers=self.admin.header)
        assert response.status_code < 300, response.text
        return response


@asynccontextmanager
async def running_system(database_factory: DatabaseFactory, *, valkey_url: str, folder: Path) -> AsyncIterator[System]:
    """Run the services without their loops; each verifies the tokens that the users service issues."""
    settings, apps = await _applications(database_factory, valkey_url=valkey_url, folder=folder)
    keys = apps["users"].state.access_tokens.keys
    async with AsyncExitStack() as stack:
        clients = {}
        for service, app in apps.items():
            if service != "users":
                app.state.token_verifier = TokenVerifier(keys.key_set, issuer=_ISSUER, revocations=None)
            clients[service] = await stack.enter_async_context(client_of(app))
            stack.push_async_callback(app.state.sessions.kw["bind"].dispose)
            stack.push_async_callback(app.state.cache.close)
        password_hash = await apps["users"].state.passwords.hash(SecretStr(PASSWORD))
        system = System(apps, clients, settings, password_hash)
        for role in get_args(Role):
            system.accounts[role] = await system.signed_in(role)
        system.accounts["other"] = await system.signed_in("customer")
        system.accounts["colleague"] = await system.signed_in("support")
        yield system


async def _applications(
    database_factory: DatabaseFactory, *, valkey_url: str, folder: Path
) -> tuple[services.users.settings.Settings, dict[str, FastAPI]]:
    common = {
        "valkey_url": valkey_url,
        "kafka_bootstrap_servers": "127.0.0.1:1",
        "http_port": 0,
        "rate_limit": "100000/minute",
        "route_rate_limits": {"*": "100000/minute"},
        "token_issuer": _ISSUER,
    }
    remote = {"users_url": "http://127.0.0.1:1", "users_token": "unused"}
    users = services.users.settings.Settings.model_validate(
        {
            **common,
            "database_url": await database_factory("users"),
            "encryption_keys_file": write_encryption_keys(folder),
            "service_tokens": {"orders": _SERVICE_TOKEN},
            "sign_in_limit_per_host": "10000/minute",
            "webauthn_rp_id": "localhost",
            "webauthn_origins": ("http://localhost:8080",),
            "sign_up_limit_per_host": "10000/hour",
        }
    )
    orders = services.orders.settings.Settings.model_validate(
        {**common, **remote, "database_url": await database_factory("orders"), "max_pending_orders": 1_000}
    )
    notifications = services.notifications.settings.Settings.model_validate(
        {
            **common,
            **remote,
            "database_url": await database_factory("notifications"),
            "smtp_url": "smtp://127.0.0.1:1",
            "mail_from": "Orderly <no-reply@orderly.example>",
            "public_url": "http://127.0.0.1:1",
        }
    )
    return users, {
        "users": services.users.app.create_app(users),
        "orders": services.orders.app.create_app(orders),
        "notifications": services.notifications.app.create_app(notifications),
    }

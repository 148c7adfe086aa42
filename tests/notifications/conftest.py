"""Fixtures: the notifications service on real servers, without its background loops, and an SMTP server."""

from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import httpx2
import pytest
from fastapi import FastAPI

from services.notifications.app import create_app
from services.notifications.channels import Channels, Send
from services.notifications.delivery_worker import DeliveryWorker
from services.notifications.mail import mail_channel
from services.notifications.retries import RetryPolicy
from services.notifications.settings import Settings
from services.notifications.smtp import Smtp
from shared.connection_urls import dsn_of
from shared.database import Database, Sessions, open_database
from shared.ids import new_id
from tests.harness.asgi import client_of
from tests.harness.databases import CONNECTIONS, DatabaseFactory
from tests.harness.personal_keys import StoredKeys
from tests.notifications.attempts import WorkerOf, delivery_of
from tests.notifications.events import apply, user_created
from tests.notifications.smtp_server import SmtpServer
from tests.shared.http.token_issuer import TokenIssuer

MAIL_FROM = "Orderly <no-reply@orderly.example>"
PUBLIC_URL = "http://127.0.0.1:8080"
QUICK_RETRIES = RetryPolicy(initial_delay=timedelta(seconds=1))


@pytest.fixture
async def database_url(database_factory: DatabaseFactory) -> str:
    return await database_factory("notifications")


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = open_database(database_url, service="notifications", pool_size=CONNECTIONS)
    yield opened
    await opened.close()


@pytest.fixture
def sessions(database: Database) -> Sessions:
    return database.sessions


@pytest.fixture
async def smtp_server() -> AsyncIterator[SmtpServer]:
    async with SmtpServer() as server:
        yield server


@pytest.fixture
async def smtp(smtp_server: SmtpServer) -> AsyncIterator[Smtp]:
    client = Smtp(smtp_server.url, local_hostname="orderly.example")
    yield client
    await client.close()


@pytest.fixture
def keys() -> StoredKeys:
    return StoredKeys()


@pytest.fixture
def send(smtp: Smtp, keys: StoredKeys) -> Send:
    return mail_channel(smtp, keys=keys.personal_keys(), mail_from=MAIL_FROM, public_url=PUBLIC_URL)


@pytest.fixture
def worker_of(database_url: str, sessions: Sessions) -> WorkerOf:
    def open_(send: Send, *, retry_policy: RetryPolicy = QUICK_RETRIES) -> DeliveryWorker:
        channels: Channels = {"email": send}
        return DeliveryWorker(channels, dsn=dsn_of(database_url), sessions=sessions, retry_policy=retry_policy)

    return open_


@pytest.fixture
async def delivery_id(sessions: Sessions) -> UUID:
    """The id of the delivery of one user's welcome mail."""
    await apply(sessions, user_created(new_id()))
    return (await delivery_of(sessions)).id


@pytest.fixture
def worker(
    worker_of: WorkerOf,
    send: Send,
    delivery_id: UUID,  # noqa: ARG001 - the delivery is queued
) -> DeliveryWorker:
    """A worker that has one welcome mail to send."""
    return worker_of(send)


@pytest.fixture
def issuer() -> TokenIssuer:
    return TokenIssuer()


@pytest.fixture
def app(database_url: str, valkey_url: str, smtp_server: SmtpServer, issuer: TokenIssuer) -> FastAPI:
    settings = Settings(
        database_url=database_url,
        valkey_url=valkey_url,
        kafka_bootstrap_servers="127.0.0.1:1",
        http_port=0,
        users_url="http://127.0.0.1:1",
        users_token="unused",
        smtp_url=smtp_server.url,
        mail_from=MAIL_FROM,
        public_url=PUBLIC_URL,
    )
    app = create_app(settings)
    app.state.token_verifier = issuer.verifier()
    return app


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(app) as opened:
        yield opened
    await app.state.cache.close()
    await app.state.sessions.kw["bind"].dispose()

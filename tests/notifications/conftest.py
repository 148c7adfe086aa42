"""Fixtures: the notifications service on real servers, without its background loops, and an SMTP server."""

from collections.abc import AsyncIterator

import httpx2
import pytest
from fastapi import FastAPI

from services.notifications.app import create_app
from services.notifications.channels import Send
from services.notifications.mail import mail_channel
from services.notifications.settings import Settings
from services.notifications.smtp import Smtp
from shared.database import Database, Sessions, open_database
from tests.harness.asgi import client_of
from tests.harness.databases import CONNECTIONS, DatabaseFactory
from tests.notifications.smtp_server import SmtpServer
from tests.shared.http.token_issuer import TokenIssuer

MAIL_FROM = "Orderly <no-reply@orderly.example>"
PUBLIC_URL = "http://127.0.0.1:8080"


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
    server = SmtpServer()
    await server.open()
    yield server
    await server.close()


@pytest.fixture
async def smtp(smtp_server: SmtpServer) -> AsyncIterator[Smtp]:
    client = Smtp(smtp_server.url, local_hostname="orderly.example")
    yield client
    await client.close()


@pytest.fixture
def send(smtp: Smtp) -> Send:
    return mail_channel(smtp, mail_from=MAIL_FROM, public_url=PUBLIC_URL)


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
        jwks_url="http://127.0.0.1:1/jwks.json",
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

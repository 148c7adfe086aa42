"""Fixtures: the users service on real servers, without its background loops."""

from collections.abc import AsyncIterator
from ipaddress import ip_network
from pathlib import Path

import pytest

from services.users.app import create_app
from services.users.settings import Settings
from tests.harness.asgi import client_of
from tests.harness.databases import CONNECTIONS, DatabaseFactory
from tests.harness.encryption_keys import write_encryption_keys
from tests.users.second_factors import User, signed_in_user
from tests.users.service import UsersService


@pytest.fixture
async def settings(database_factory: DatabaseFactory, valkey_url: str, tmp_path: Path) -> Settings:
    return Settings(
        database_url=await database_factory("users"),
        valkey_url=valkey_url,
        kafka_bootstrap_servers="127.0.0.1:1",  # nothing connects to Kafka
        encryption_keys_file=write_encryption_keys(tmp_path),
        service_tokens={"orders": "the token of orders"},
        webauthn_rp_id="localhost",
        webauthn_origins=("http://localhost:8080",),
        database_pool_size=CONNECTIONS,
        max_concurrent_requests=CONNECTIONS,
        sessions_per_user=5,
        sign_in_free_failures=3,
        sign_in_free_failures_per_account=5,
        sign_in_free_failures_per_host=6,
        sign_in_limit_per_host="10000/minute",
        sign_up_limit_per_host="10000/hour",
        sign_up_limit_per_email="10000/hour",
        shared_client_networks=(ip_network("172.16.0.0/12"),),
    )


@pytest.fixture
async def service(settings: Settings) -> AsyncIterator[UsersService]:
    app = create_app(settings)
    async with client_of(app) as client:
        yield UsersService(app, client)
    await app.state.sessions.kw["bind"].dispose()
    await app.state.cache.close()


@pytest.fixture
async def ada(service: UsersService) -> User:
    """A user who is signed in with a password."""
    return await signed_in_user(service)

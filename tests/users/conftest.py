"""Fixtures: the users service on real servers, without its background loops."""

import json
from collections.abc import AsyncIterator
from ipaddress import ip_network
from pathlib import Path

import pytest
from joserfc.jwk import OKPKey

from services.users.app import create_app
from services.users.settings import Settings
from tests.harness.asgi import client_of
from tests.harness.databases import CONNECTIONS, DatabaseFactory
from tests.harness.encryption_keys import write_encryption_keys
from tests.users.second_factors import User, signed_in_user
from tests.users.service import UsersService


@pytest.fixture(scope="session")
def signing_keys_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two keys, as during a rotation."""
    file = tmp_path_factory.mktemp("keys") / "signing-keys.json"
    keys = [OKPKey.generate_key("Ed25519", {"kid": kid}).as_dict(private=True) for kid in ("new", "old")]
    file.write_text(json.dumps({"keys": keys}))
    return file


@pytest.fixture
async def settings(
    signing_keys_file: Path, database_factory: DatabaseFactory, valkey_url: str, tmp_path: Path
) -> Settings:
    return Settings(
        database_url=await database_factory("users"),
        valkey_url=valkey_url,
        kafka_bootstrap_servers="127.0.0.1:1",  # nothing connects to Kafka
        encryption_keys_file=write_encryption_keys(tmp_path),
        signing_keys_file=signing_keys_file,
        service_tokens={"orders": "the token of orders"},
        webauthn_rp_id="localhost",
        webauthn_origins=("http://localhost:8080",),
        database_pool_size=CONNECTIONS,
        sign_in_failures_per_account_and_address=3,
        sign_in_failures_per_account=5,
        sign_in_failures_per_address=6,
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

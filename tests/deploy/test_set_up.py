"""`python -m services set-up` can be repeated: the second call changes nothing."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import asyncpg

from deploy.local.state import CHECKOUT
from shared.connection_urls import dsn_of
from tests.harness.databases import DatabaseFactory
from tests.harness.encryption_keys import write_encryption_keys

PRODUCT = {"sku": "85123A", "name": "Lantern", "description": "", "price_cents": 255, "currency": "GBP", "stock": 100}


async def test_a_second_set_up_keeps_prices_and_passwords(
    database_factory: DatabaseFactory,
    kafka_bootstrap_servers: str,
    topic_prefix: str,
    valkey_url: str,
    tmp_path: Path,
) -> None:
    urls = {service: await database_factory() for service in ("users", "orders", "notifications")}
    for name, content in {"catalogue": json.dumps(PRODUCT), "password": "a first password"}.items():
        (tmp_path / name).write_text(content)
    environment = {
        **os.environ,
        "PYTHONPATH": str(CHECKOUT),
        "USERS_ENCRYPTION_KEYS_FILE": str(write_encryption_keys(tmp_path)),
        "ORDERS_USERS_URL": "http://127.0.0.1:1",
        "ORDERS_USERS_TOKEN": "x" * 16,
        "USERS_SERVICE_TOKENS": "orders=xxxxxxxxxxxxxxxx",
        "USERS_WEBAUTHN_RP_ID": "localhost",
        "USERS_WEBAUTHN_ORIGINS": "http://localhost",
        "ORDERS_HTTP_PORT": "0",
    }
    for service, url in urls.items():
        prefix = service.upper()
        environment |= {
            f"{prefix}_DATABASE_URL": url,
            f"{prefix}_VALKEY_URL": valkey_url,
            f"{prefix}_KAFKA_BOOTSTRAP_SERVERS": kafka_bootstrap_servers,
            f"{prefix}_KAFKA_TOPIC_PREFIX": topic_prefix,
        }
    command = [sys.executable, "-m", "services", "set-up", "--admin-email", "admin@orderly.example"]
    command += ["--admin-password-file", str(tmp_path / "password"), "--catalogue", str(tmp_path / "catalogue")]

    await asyncio.to_thread(subprocess.run, command, env=environment, check=True, timeout=120)
    orders, users = [await asyncpg.connect(dsn_of(urls[service])) for service in ("orders", "users")]
    password_hash = await users.fetchval("SELECT password_hash FROM user_account")
    await orders.execute("UPDATE product SET price_cents = 300")
    await asyncio.to_thread(subprocess.run, command, env=environment, check=True, timeout=120)

    products = [tuple(row) for row in await orders.fetch("SELECT sku, price_cents FROM product")]
    accounts = [tuple(row) for row in await users.fetch("SELECT email, password_hash FROM user_account")]
    assert (products, accounts) == ([("85123A", 300)], [("admin@orderly.example", password_hash)])
    await orders.close()
    await users.close()

"""The applications of the three services, created but not started, so no server is needed."""

from pathlib import Path

from fastapi import FastAPI

import services.notifications.app
import services.notifications.settings
import services.orders.app
import services.orders.settings
import services.users.app
import services.users.settings
from tests.harness.encryption_keys import write_encryption_keys

# An application connects when it starts, not before.
UNUSED = {
    "database_url": "postgresql+asyncpg://nobody:nothing@127.0.0.1:1/nothing",
    "valkey_url": "redis://127.0.0.1:1/0",
    "kafka_bootstrap_servers": "127.0.0.1:1",
    "http_port": 0,
}
SERVICE_TOKENS = {"orders": "a token of no use"}
USERS = {"users_url": "http://127.0.0.1:1", "users_token": "unused"}


def applications(folder: Path) -> dict[str, FastAPI]:
    """Return the application of each service. The encryption keys of users are written to `folder`."""
    return {
        "notifications": services.notifications.app.create_app(
            services.notifications.settings.Settings.model_validate(
                {
                    **UNUSED,
                    **USERS,
                    "smtp_url": "smtp://127.0.0.1:1",
                    "mail_from": "Orderly <no-reply@orderly.example>",
                    "public_url": "http://127.0.0.1:1",
                }
            )
        ),
        "orders": services.orders.app.create_app(services.orders.settings.Settings.model_validate({**UNUSED, **USERS})),
        "users": services.users.app.create_app(
            services.users.settings.Settings.model_validate(
                {
                    **UNUSED,
                    "encryption_keys_file": write_encryption_keys(folder),
                    "service_tokens": SERVICE_TOKENS,
                    "webauthn_rp_id": "localhost",
                    "webauthn_origins": ("http://localhost:8080",),
                }
            )
        ),
    }

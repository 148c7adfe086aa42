"""The applications of the three services, created but not started, so no server is needed."""

from pathlib import Path

from fastapi import FastAPI

import services.notifications.app
import services.notifications.settings
import services.orders.app
import services.orders.settings
import services.users.app
import services.users.settings
from deploy.compose.signing_keys import write_signing_keys

# An application connects when it starts, not before.
UNUSED = {
    "database_url": "postgresql+asyncpg://nobody:nothing@127.0.0.1:1/nothing",
    "valkey_url": "redis://127.0.0.1:1/0",
    "kafka_bootstrap_servers": "127.0.0.1:1",
    "http_port": 0,
}
JWKS_URL = "http://127.0.0.1:1/.well-known/jwks.json"


def applications(folder: Path) -> dict[str, FastAPI]:
    """Return the application of each service. The signing keys are written to `folder`."""
    keys_file = folder / "signing-keys.json"
    write_signing_keys(keys_file)
    return {
        "notifications": services.notifications.app.create_app(
            services.notifications.settings.Settings.model_validate(
                {
                    **UNUSED,
                    "jwks_url": JWKS_URL,
                    "smtp_url": "smtp://127.0.0.1:1",
                    "mail_from": "Orderly <no-reply@orderly.example>",
                    "public_url": "http://127.0.0.1:1",
                }
            )
        ),
        "orders": services.orders.app.create_app(
            services.orders.settings.Settings.model_validate({**UNUSED, "jwks_url": JWKS_URL})
        ),
        "users": services.users.app.create_app(
            services.users.settings.Settings.model_validate({**UNUSED, "signing_keys_file": keys_file})
        ),
    }

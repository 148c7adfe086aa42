"""The three services as processes: their environment, the processes that serve, and the commands that set them up."""

import re
import sys
from dataclasses import dataclass
from importlib.util import cache_from_source, find_spec
from pathlib import Path

from deploy.local.credentials import ADMIN_EMAIL, SERVICES, Credentials
from deploy.local.postgres import owner_of
from deploy.local.process import Program, run_to_end
from deploy.local.readiness import http_answers
from deploy.local.settings import LocalSettings
from deploy.local.state import CHECKOUT

_PATH = {"PYTHONPATH": str(CHECKOUT)}
POOL_SIZE = 5
"""Connections of each service's pool: enough for one process. Each costs its server 8 MB of memory."""


@dataclass(frozen=True, kw_only=True)
class Services:
    """Knows how to run each of the three services."""

    settings: LocalSettings
    credentials: Credentials
    kafka_bootstrap_servers: str
    idempotent_producer: bool = True
    python: str = sys.executable

    def program(self, service: str) -> Program:
        """Return the program that runs a service."""
        port = self.settings.port_of(service)
        return Program(
            name=service,
            command=[self.python, "-m", f"services.{service}"],
            environment=self.environment(service),
            ready=lambda: http_answers(port, "/health/ready"),
            address=self.url_of(service),
            notes="/docs, /health, /metrics",
            echo=re.compile("."),
            # On a busy machine the imports alone take long, and another start would take as long again.
            ready_timeout_seconds=60,
            # Open requests, the relay's page and the consumers' fetches may finish.
            stop_timeout_seconds=20,
        )

    async def migrate(self, service: str) -> None:
        """Migrate a service's database to the newest schema, and create its topics."""
        await run_to_end(
            [self.python, "-m", f"services.{service}", "migrate"],
            log=self.settings.logs / f"{service}.migrate.log",
            environment=self.set_up_environment(service),
        )

    async def set_up(self) -> None:
        """Migrate the databases, create the topics, the admin's account and the catalogue.

        It imports its modules while the servers start, and then waits for them.
        """
        logs, catalogue = self.settings.logs, self.settings.folder / "catalogue.jsonl"
        if not catalogue.exists():
            command = [self.python, "-m", "deploy.demo", "catalogue"]
            await run_to_end(command, log=logs / "catalogue.log", output_to=catalogue, environment=_PATH)
        admin = ["--admin-email", ADMIN_EMAIL, "--admin-password-file", str(self.credentials.admin_password_file)]
        # On a fresh machine, compile everything here once; otherwise each of the services' processes would do it.
        compiling = [] if sys.dont_write_bytecode or _is_compiled("fastapi") else ["--import-all"]
        await run_to_end(
            [self.python, "-m", "services", "set-up", *admin, "--catalogue", str(catalogue), *compiling],
            log=logs / "set-up.log",
            environment={
                name: value for service in SERVICES for name, value in self.set_up_environment(service).items()
            },
        )

    def url_of(self, service: str) -> str:
        """Return the URL of the service itself, without the gateway."""
        return f"http://127.0.0.1:{self.settings.port_of(service)}"

    def database_url(self, service: str, *, role: str | None = None) -> str:
        """Return the URL of the service's database, by default with the role that the service has as it runs."""
        role = role or service
        password = self.credentials.database_passwords[role]
        return f"postgresql://{role}:{password}@127.0.0.1:{self.settings.postgres_port_of(service)}/{service}"

    def set_up_environment(self, service: str) -> dict[str, str]:
        """Return the settings of the commands that set a service up, and migrate as the schema's owner."""
        owner_url = self.database_url(service, role=owner_of(service))
        return {**self.environment(service), f"{service.upper()}_MIGRATIONS_DATABASE_URL": owner_url}

    def environment(self, service: str) -> dict[str, str]:
        """Return a service's settings. A `..._LOG_LEVEL` comes from the user's shell."""
        common = {
            "DATABASE_URL": self.database_url(service),
            "DATABASE_POOL_SIZE": str(POOL_SIZE),
            "VALKEY_URL": self.settings.valkey_url,
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka_bootstrap_servers,
            "KAFKA_IDEMPOTENT_PRODUCER": str(self.idempotent_producer).lower(),
            "HTTP_HOST": "127.0.0.1",
            "HTTP_PORT": str(self.settings.port_of(service)),
            "LOG_FORMAT": "console",
            "OTLP_ENDPOINT": self.settings.collector_url or "",
        }
        tokens = self.credentials.service_tokens
        own = {
            "users": {
                "ENCRYPTION_KEYS_FILE": str(self.credentials.encryption_keys_file),
                "SERVICE_TOKENS": ",".join(f"{name}={token}" for name, token in tokens.items()),
                # Everybody here has this machine's address, and a test may repeat a sign-up for a while.
                "SHARED_CLIENT_NETWORKS": "127.0.0.0/8,::1/128",
                "SIGN_UP_LIMIT_PER_EMAIL": "1000/hour",
                "WEBAUTHN_RP_ID": "localhost",
                "WEBAUTHN_ORIGINS": self.settings.public_url,
            },
            "orders": {
                "USERS_URL": self.url_of("users"),
                "USERS_TOKEN": tokens["orders"],
                "NOTIFICATIONS_URL": self.url_of("notifications"),
            },
            "notifications": {
                "USERS_URL": self.url_of("users"),
                "USERS_TOKEN": tokens["notifications"],
                "SMTP_URL": self.settings.smtp_url,
                "MAIL_FROM": "Orderly <no-reply@orderly.example>",
                "PUBLIC_URL": self.settings.public_url,
                # Whoever stops the mail catcher here does not want to wait for minutes.
                "DELIVERY_INITIAL_RETRY_SECONDS": "1",
                "DELIVERY_MAX_RETRY_SECONDS": "60",
            },
        }[service]
        return {**_PATH, **{f"{service.upper()}_{name}": value for name, value in {**common, **own}.items()}}


def _is_compiled(package: str) -> bool:
    spec = find_spec(package)
    return spec is not None and spec.origin is not None and Path(cache_from_source(spec.origin)).exists()

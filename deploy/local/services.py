"""The three services as processes: their environment, their programs, and their commands that end by themselves."""

import re
import sys
from dataclasses import dataclass
from importlib.util import cache_from_source, find_spec
from pathlib import Path

from deploy.local.readiness import http_answers
from deploy.local.credentials import ADMIN_EMAIL, SERVICES, Credentials
from deploy.local.process import Program, run_to_end
from deploy.local.settings import CHECKOUT, LocalSettings

_PATH = {"PYTHONPATH": str(CHECKOUT)}


@dataclass(frozen=True, kw_only=True)
class Services:
    """What the three have in common."""

    settings: LocalSettings
    credentials: Credentials
    kafka_bootstrap_servers: str
    idempotent_producer: bool = True

    def program(self, service: str) -> Program:
        """The service's process."""
        port = self.settings.port_of(service)
        return Program(
            name=service,
            command=[sys.executable, "-m", f"services.{service}"],
            environment=self.environment(service),
            ready=lambda: http_answers(port, "/health/ready"),
            address=self.url_of(service),
            look="/docs, /health, /metrics",
            echo=re.compile("."),
            # Open requests end, the relay and the consumers finish their turn.
            stop_timeout_seconds=20,
        )

    async def migrate(self, service: str) -> None:
        """Bring its database to the newest schema, and its topics into being."""
        await run_to_end(
            [sys.executable, "-m", f"services.{service}", "migrate"],
            log=self.settings.logs / f"{service}.migrate.log",
            environment=self.environment(service),
        )

    async def set_up(self) -> None:
        """Schemas, topics, the first account and the catalogue; waits for the servers it needs while it imports."""
        logs, catalogue = self.settings.logs, self.settings.folder / "catalogue.jsonl"
        if not catalogue.exists():
            command = [sys.executable, "-m", "deploy.demo", "catalogue"]
            await run_to_end(command, log=logs / "catalogue.log", output_to=catalogue, environment=_PATH)
        admin = ["--admin-email", ADMIN_EMAIL, "--admin-password-file", str(self.credentials.admin_password_file)]
        # On a fresh machine one process writes the bytecode that the services' three would each have to make.
        compiling = [] if sys.dont_write_bytecode or _is_compiled("fastapi") else ["--import-all"]
        await run_to_end(
            [sys.executable, "-m", "services", "set-up", *admin, "--catalogue", str(catalogue), *compiling],
            log=logs / "set-up.log",
            environment={name: value for service in SERVICES for name, value in self.environment(service).items()},
        )

    def url_of(self, service: str) -> str:
        """Of the service itself, behind the gateway."""
        return f"http://127.0.0.1:{self.settings.port_of(service)}"

    def database_url(self, service: str) -> str:
        """For SQLAlchemy; the role is the service's own."""
        password = self.credentials.database_passwords[service]
        return f"postgresql+asyncpg://{service}:{password}@127.0.0.1:{self.settings.postgres_port}/{service}"

    def environment(self, service: str) -> dict[str, str]:
        """Everything that the service is told about this system; a LOG_LEVEL comes from the person's own shell."""
        common = {
            "DATABASE_URL": self.database_url(service),
            "VALKEY_URL": f"redis://127.0.0.1:{self.settings.valkey_port}/0",
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka_bootstrap_servers,
            "KAFKA_IDEMPOTENT_PRODUCER": str(self.idempotent_producer).lower(),
            "HTTP_HOST": "127.0.0.1",
            "HTTP_PORT": str(self.settings.port_of(service)),
            "LOG_FORMAT": "console",
            "JWKS_URL": f"{self.url_of('users')}/.well-known/jwks.json",
        }
        own = {
            "users": {"SIGNING_KEYS_FILE": str(self.credentials.signing_keys_file)},
            "orders": {},
            "notifications": {
                "SMTP_URL": f"smtp://127.0.0.1:{self.settings.smtp_port}",
                "MAIL_FROM": "Orderly <no-reply@orderly.example>",
                "PUBLIC_URL": f"http://127.0.0.1:{self.settings.gateway_port}",
            },
        }[service]
        return {**_PATH, **{f"{service.upper()}_{name}": value for name, value in {**common, **own}.items()}}


def _is_compiled(package: str) -> bool:
    spec = find_spec(package)
    return spec is not None and spec.origin is not None and Path(cache_from_source(spec.origin)).exists()

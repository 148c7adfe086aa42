"""The whole system with every connection encrypted and authenticated: servers, gateway and the services' settings."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import AuthResult, LoginPassword

from deploy.kafka.acls import MIGRATOR
from deploy.local.gateway import Gateway, GatewayTls
from deploy.local.kafka import KafkaNode, KafkaSecurity
from deploy.local.kafka_jars import ensure_jars
from deploy.local.ports import free_port
from deploy.local.postgres import Postgres, create_database, owner_of
from deploy.local.process import Program, start_process
from deploy.local.valkey import Valkey
from shared.messaging.kafka import KafkaConnection
from tests.harness.certificates import Certificates, make_certificates
from tests.harness.encryption_keys import write_encryption_keys
from tests.harness.tls_postgres import ensure_programs
from tests.harness.tls_proxy import tls_proxy
from tests.journeys.processes import SERVICES
from tests.notifications.smtp_server import SmtpServer

ADMIN = "admin"
OUTSIDER = "outside-subscriber"
PRODUCT = {"sku": "LAMP", "name": "Lamp", "description": "", "price_cents": 1000, "currency": "GBP", "stock": 9}


def password_of(user: str) -> str:
    """Return a password with characters that a URL has to quote."""
    return f"{user}/@:hunter2"


@dataclass(frozen=True)
class SecuredSystem:
    """Running servers, and what their clients need."""

    folder: Path
    certificates: Certificates
    postgres_port: int
    valkey_port: int
    kafka: KafkaConnection
    smtp: SmtpServer
    ports: Mapping[str, int]
    gateway_port: int

    def database_url(self, role: str, database: str) -> str:
        """Return a URL that verifies the server, without the password."""
        ca = self.certificates.ca_file
        return f"postgresql://{role}@127.0.0.1:{self.postgres_port}/{database}?sslmode=verify-full&sslrootcert={ca}"

    def kafka_as(self, user: str) -> KafkaConnection:
        """Return a user's connection to Kafka."""
        return replace(self.kafka, username=user, password=password_of(user))

    def environment(self, *, kafka_user: str | None = None) -> dict[str, str]:
        """Return the settings of all services; every password is in a file."""
        return {
            f"{service.upper()}_{name}": str(value)
            for service in SERVICES
            for name, value in self._settings(service, kafka_user or service).items()
        }

    def admin_environment(self) -> dict[str, str]:
        """Return the settings of `python -m deploy.kafka`."""
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
            "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA_USERNAME": ADMIN,
            "KAFKA_PASSWORD_FILE": str(self.secret(ADMIN)),
            "KAFKA_CA_FILE": str(self.certificates.ca_file),
        }

    def _settings(self, service: str, kafka_user: str) -> dict[str, Any]:
        ca, owner = self.certificates.ca_file, owner_of(service)
        return {
            "DATABASE_URL": self.database_url(service, service),
            "DATABASE_PASSWORD_FILE": self.secret(service),
            "MIGRATIONS_DATABASE_URL": self.database_url(owner, service),
            "MIGRATIONS_DATABASE_PASSWORD_FILE": self.secret(owner),
            "VALKEY_URL": f"rediss://127.0.0.1:{self.valkey_port}/0?ssl_ca_certs={ca}",
            "VALKEY_PASSWORD_FILE": self.secret("valkey"),
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
            "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA_USERNAME": kafka_user,
            "KAFKA_PASSWORD_FILE": self.secret(kafka_user),
            "KAFKA_CA_FILE": ca,
            "HTTP_PORT": self.ports[service],
            "HTTP_CERTIFICATE_FILE": self.certificates.certificate_file,
            "HTTP_KEY_FILE": self.certificates.key_file,
            "USERS_URL": f"https://127.0.0.1:{self.ports['users']}",
            "USERS_TOKEN_FILE": self.secret("service-token"),
            "USERS_CA_FILE": ca,
            "NOTIFICATIONS_URL": f"https://127.0.0.1:{self.ports['notifications']}",
            "NOTIFICATIONS_CA_FILE": ca,
            "SERVICE_TOKENS": f"orders={password_of('service-token')},notifications={password_of('service-token')}",
            "ENCRYPTION_KEYS_FILE": write_encryption_keys(self.folder),
            "WEBAUTHN_RP_ID": "localhost",
            "WEBAUTHN_ORIGINS": "https://localhost",
            "SMTP_URL": f"smtp://orderly@127.0.0.1:{self.smtp.port}?starttls=required&ca_file={ca}",
            "SMTP_PASSWORD_FILE": self.secret("smtp"),
            "MAIL_FROM": "Orderly <no-reply@orderly.example>",
            "PUBLIC_URL": f"https://127.0.0.1:{self.gateway_port}",
        }

    def secret(self, user: str) -> Path:
        """Return the file of a password."""
        path = self.folder / f"{user}.password"
        path.write_text(f"{password_of(user)}\n")
        return path


@asynccontextmanager
async def secured_system(folder: Path) -> AsyncIterator[SecuredSystem]:
    """Start the servers and the gateway, and make databases and users; stop everything at the end."""
    certificates = make_certificates(folder / "certificates")
    postgres = Postgres(
        folder=folder / "postgres",
        port=free_port(),
        password="superuser",
        durable=False,
        programs=await ensure_programs(folder / "postgres.log"),
        certificate_file=certificates.certificate_file,
        key_file=certificates.key_file,
    )
    valkey = Valkey(folder=folder / "valkey", port=free_port(), durable=False, password=password_of("valkey"))
    node = _kafka_node(folder / "kafka", certificates)
    ports = {service: free_port() for service in SERVICES}
    await ensure_jars(folder / "kafka.log")
    await postgres.prepare(folder / "postgres.log")
    await node.prepare(folder / "kafka.log")
    gateway = _gateway(certificates, ports)
    (folder / "catalogue.jsonl").write_text(json.dumps(PRODUCT))
    async with AsyncExitStack() as stack:
        smtp = await stack.enter_async_context(_smtp_server(certificates))
        for program in (postgres.program(), valkey.program(), node.program(), gateway.program()):
            await stack.enter_async_context(_running(program, folder))
        kafka = KafkaConnection(
            node.bootstrap_servers,
            security_protocol="SASL_SSL",
            username=ADMIN,
            password=password_of(ADMIN),
            ca_file=certificates.ca_file,
        )
        for service in SERVICES:
            passwords = {"password": password_of(service), "owner_password": password_of(owner_of(service))}
            await create_database(postgres.admin_url, name=service, **passwords)
        valkey_port = await stack.enter_async_context(tls_proxy(valkey.port, certificates.server_context()))
        yield SecuredSystem(folder, certificates, postgres.port, valkey_port, kafka, smtp, ports, gateway.port)


def _kafka_node(folder: Path, certificates: Certificates) -> KafkaNode:
    users = (ADMIN, MIGRATOR, OUTSIDER, *SERVICES)
    security = KafkaSecurity(
        key_and_certificate_file=certificates.both_file,
        ca_file=certificates.ca_file,
        passwords={user: password_of(user) for user in users},
    )
    return KafkaNode(folder=folder, port=free_port(), controller_ports={1: free_port()}, security=security)


def _gateway(certificates: Certificates, ports: Mapping[str, int]) -> Gateway:
    return Gateway(
        port=free_port(),
        health_port=free_port(),
        service_urls={service: f"https://127.0.0.1:{port}" for service, port in ports.items()},
        requests_per_second=1000,
        tls=GatewayTls(
            certificate_file=certificates.certificate_file,
            key_file=certificates.key_file,
            services_ca_file=certificates.ca_file,
        ),
    )


def _smtp_server(certificates: Certificates) -> SmtpServer:
    expected = LoginPassword(b"orderly", password_of("smtp").encode())

    def log_in(*arguments: object) -> AuthResult:
        return AuthResult(success=arguments[-1] == expected, handled=False)

    return SmtpServer(
        tls_context=certificates.server_context(), require_starttls=True, auth_required=True, authenticator=log_in
    )


@asynccontextmanager
async def _running(program: Program, folder: Path) -> AsyncIterator[None]:
    process = await start_process(program, log=folder / f"{program.name}.log", echo=lambda _name, _line: None)
    try:
        await process.wait_until_ready()
        yield
    finally:
        await process.stop()

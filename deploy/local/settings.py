"""Settings of the local system: ORDERLY_* in the environment, or these defaults."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from deploy.local.broker import Choice
from deploy.local.state import DEFAULT_FOLDER

Port = Annotated[int, Field(ge=1, le=65535)]


class LocalSettings(BaseSettings):
    """The folder, ports and options of the local system. Every port is on the loopback address."""

    model_config = SettingsConfigDict(env_prefix="ORDERLY_", frozen=True)

    folder: Path = DEFAULT_FOLDER
    gateway_port: Port = 8080
    gateway_health_port: Port = 8081
    users_port: Port = 8001
    orders_port: Port = 8002
    notifications_port: Port = 8003
    mail_page_port: Port = 8025
    smtp_port: Port = 8026
    users_postgres_port: Port = 15432
    orders_postgres_port: Port = 15433
    notifications_postgres_port: Port = 15434
    valkey_port: Port = 16379
    kafka_port: Port = 19092
    kafka_controller_port: Port = 19093
    audit_port: Port = 8004
    console_port: Port = 8090
    otlp_port: Port = 4318
    """The port at which the console takes traces and logs."""
    kafka: Choice = "auto"
    kafka_bootstrap_servers: str | None = Field(default=None, validation_alias="KAFKA_BOOTSTRAP_SERVERS")
    wal_archive: Literal["off", "asynchronous", "synchronous"] = "asynchronous"
    """Whether WAL is archived. `synchronous`: a commit is acknowledged once the archive has it too."""
    archive_folder: Path | None = None
    """The folder of the databases' archives. Default: `archive` in the folder of the system."""
    audit: Literal["on", "off"] = "on"
    """Whether the audit runs at an interval."""
    audit_every_seconds: Annotated[float, Field(ge=1)] = 10
    """Seconds from the start of a run of the audit to the start of the next."""
    audit_grace_seconds: Annotated[float, Field(ge=0)] = 30
    """Time within which a change must have reached every service. Lowered, the audit shows a loss sooner, and names
    what a process that restarts will still do."""
    console: Literal["on", "off"] = "on"
    """Whether the console runs."""
    gateway_requests_per_second: int = 1000
    """Limit per client address. On a laptop, all clients have the same address."""
    otlp_endpoint: str | None = None
    """Base URL of the collector that the gateway and the services send their traces and logs to. Default: the console,
    or none without it."""
    gateway_trusted_proxies: str = ""
    """Addresses or networks of proxies in front of the gateway, separated by commas."""

    def ports(self) -> dict[str, int]:
        """Return every port of the system by the variable that sets it, without those of parts that do not run."""
        unused = {
            *(("kafka_port", "kafka_controller_port") if self.kafka_bootstrap_servers else ()),
            *(() if self.audit == "on" else ("audit_port",)),
            *(() if self.has_console else ("console_port", "otlp_port")),
        }
        names = [name for name in type(self).model_fields if name.endswith("_port") and name not in unused]
        return {f"ORDERLY_{name.upper()}": getattr(self, name) for name in names}

    def port_of(self, service: str) -> int:
        """Return the HTTP port of one of the three services."""
        port: int = getattr(self, f"{service}_port")
        return port

    def postgres_port_of(self, service: str) -> int:
        """Return the port of a service's PostgreSQL server."""
        port: int = getattr(self, f"{service}_postgres_port")
        return port

    def postgres_data_of(self, service: str) -> Path:
        """Return the data folder of a service's PostgreSQL server, in a folder that may be a file system of its own."""
        return self.folder / "postgres" / service / "data"

    @property
    def has_console(self) -> bool:
        """Return whether the console runs."""
        return self.console == "on"

    @property
    def collector_url(self) -> str | None:
        """The base URL of the collector of traces and logs; None if there is none."""
        return self.otlp_endpoint or (f"http://127.0.0.1:{self.otlp_port}" if self.has_console else None)

    @property
    def console_url(self) -> str:
        """The URL of the console's pages."""
        return f"http://127.0.0.1:{self.console_port}"

    @property
    def audit_url(self) -> str:
        """The URL of the audit's findings and metrics."""
        return f"http://127.0.0.1:{self.audit_port}"

    @property
    def gateway_url(self) -> str:
        """The URL of the whole API."""
        return f"http://127.0.0.1:{self.gateway_port}"

    @property
    def public_url(self) -> str:
        """The URL that people open: browsers keep passkeys for localhost, but for no IP address."""
        return f"http://localhost:{self.gateway_port}"

    @property
    def mail_url(self) -> str:
        """The URL of the mail catcher's page."""
        return f"http://127.0.0.1:{self.mail_page_port}"

    @property
    def smtp_url(self) -> str:
        """The URL at which the mail catcher accepts mail."""
        return f"smtp://127.0.0.1:{self.smtp_port}"

    @property
    def valkey_url(self) -> str:
        """The URL of Valkey's first database."""
        return f"redis://127.0.0.1:{self.valkey_port}/0"

    @property
    def archive(self) -> Path:
        """The folder of base backups and archived WAL."""
        return self.archive_folder or self.folder / "archive"

    @property
    def logs(self) -> Path:
        """The folder of the log files, one per process."""
        return self.folder / "logs"

"""Settings of the console: CONSOLE_* in the environment."""

from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.connection_urls import check_readable
from shared.settings import Password

Port = Annotated[int, Field(ge=0, le=65535)]

ServiceName = Literal["users", "orders", "notifications"]
SERVICES: tuple[str, ...] = get_args(ServiceName)


class ConsoleSettings(BaseSettings):
    """Addresses of what the console shows, and who may use it.

    Under `make run`, `local_admin_password_file` and `control_socket` are set: then whoever can open a connection on
    the loopback address is the local admin, and processes can be stopped and broken. Elsewhere neither is set.
    """

    model_config = SettingsConfigDict(env_prefix="CONSOLE_", frozen=True, extra="ignore", hide_input_in_errors=True)

    http_host: str = "127.0.0.1"
    http_port: Port = 8090
    otlp_host: str = "127.0.0.1"
    otlp_port: Port = 4318
    """Port that receives traces and logs by OTLP/HTTP. The services send them there (`<SERVICE>_OTLP_ENDPOINT`)."""
    otlp_forward_endpoint: Annotated[str | None, BeforeValidator(lambda given: given or None)] = None
    """Base URL of a store that also gets the received traces, and keeps them for longer."""
    folder: Path
    """Folder of the received traces and logs, which are kept for `retention_minutes`."""
    retention_minutes: Annotated[int, Field(ge=1, le=1440)] = 60
    max_spans: Annotated[int, Field(ge=1_000)] = 300_000
    """Upper bound of spans, and of log records, that are kept. 300,000 are five minutes of 1,000 spans per second."""
    max_telemetry_megabytes: Annotated[int, Field(ge=16)] = 256
    """Upper bound of the size of the received traces and logs on disk."""
    users_url: str
    orders_url: str
    notifications_url: str
    """The services themselves, not the gateway: the console also reads /health and /metrics."""
    users_token: Password = None
    """Token of the console for the internal routes of the users service, which name the revoked sessions."""
    token_issuer: str = "orderly"  # noqa: S105 - no secret
    audit_url: str | None = None
    """The audit that runs at an interval: `python -m deploy.audit serve`."""
    backup_url: str | None = None
    """The scheduler of base backups: `python -m deploy.backup serve`."""
    control_socket: Path | None = None
    """The socket of the supervisor of `make run`. Without it nothing can be started, stopped or broken."""
    local_admin_email: str = "admin@orderly.example"
    local_admin_password_file: Annotated[Path | None, Field(validate_default=True)] = None
    logs_folder: Path | None = None
    """Folder of the log files of `make run`. Elsewhere the console only has the logs that it receives."""
    trusted_proxies: str = "127.0.0.1"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"

    @property
    def service_urls(self) -> dict[str, str]:
        """The URLs of the services, by service."""
        return {service: getattr(self, f"{service}_url").rstrip("/") for service in SERVICES}

    @property
    def is_local(self) -> bool:
        """Return whether this is the console of `make run`."""
        return self.control_socket is not None

    @field_validator("local_admin_password_file")
    @classmethod
    def _check_password_file(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        if path is None:
            return None
        if info.data.get("http_host") not in {"127.0.0.1", "localhost", "::1"}:
            raise ValueError("would make everybody an admin: CONSOLE_HTTP_HOST is not a loopback address")
        check_readable(path)
        return path

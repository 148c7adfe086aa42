"""Settings of the audit: AUDIT_* in the environment, or those of the system that `make run` has started."""

import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import SettingsConfigDict

from deploy.audit.databases import SERVICES
from deploy.audit.runs import DEFAULT_MAX_KEYS, DEFAULT_PART_KEYS, Limits
from shared.connection_urls import dsn_of
from shared.settings import KafkaSettings, Password, load

DatabaseUrl = Annotated[str, Field(repr=False)]


class AuditSettings(KafkaSettings):
    """Addresses of the databases, with a role that can only read, and of Kafka; and the bounds of a run."""

    model_config = SettingsConfigDict(env_prefix="AUDIT_")

    kafka_bootstrap_servers: str = ""
    """Addresses of Kafka. The audit does not look into the topics without them."""
    users_database_password: Password = None
    """Completes `users_database_url`, as the others complete theirs."""
    users_database_url: DatabaseUrl
    orders_database_password: Password = None
    orders_database_url: DatabaseUrl
    notifications_database_password: Password = None
    notifications_database_url: DatabaseUrl
    state_file: Path
    """The file that keeps what the next run needs."""
    grace_seconds: Annotated[float, Field(ge=0)] = 300
    """Time within which a change must have reached every service. A younger difference is looked at again later."""
    max_keys: Annotated[int, Field(ge=100)] = DEFAULT_MAX_KEYS
    """Sent events that a run reads at most. Raised, it catches up faster; lowered, it takes less of the databases."""
    part_keys: Annotated[int, Field(ge=1)] = DEFAULT_PART_KEYS
    """Rows of each table that a run checks although no event names them."""
    notification_retention_days: Annotated[int, Field(ge=30)] = 90
    """The value of NOTIFICATIONS_RETENTION_DAYS."""
    http_host: str = "127.0.0.1"
    http_port: Annotated[int, Field(ge=0, le=65535)] = 8004
    """The port of /metrics and /findings, for `serve`."""

    @field_validator("users_database_url", "orders_database_url", "notifications_database_url")
    @classmethod
    def _complete_database_url(cls, url: str, info: ValidationInfo) -> str:
        return dsn_of(url, password=info.data.get(f"{str(info.field_name).removesuffix('_url')}_password"))

    @property
    def database_urls(self) -> dict[str, str]:
        """The URLs of the databases, by service."""
        return {service: getattr(self, f"{service}_database_url") for service in SERVICES}

    @property
    def grace(self) -> timedelta:
        """The grace period."""
        return timedelta(seconds=self.grace_seconds)

    @property
    def limits(self) -> Limits:
        """The bounds of an incremental run."""
        return Limits(max_keys=self.max_keys, part_keys=self.part_keys)


def load_settings(*, local: bool) -> AuditSettings:
    """Read the settings from the environment. `local` takes the addresses from the system of `make run`.

    Exits with status 2 if one is missing or invalid, or if no system runs.
    """
    if local:
        _use_local_system()
    return load(AuditSettings)


def _use_local_system() -> None:
    # Imported here: a container that audits has nothing of what `make run` needs.
    from deploy.local.settings import LocalSettings  # noqa: PLC0415
    from deploy.local.state import audit_environment, read_state  # noqa: PLC0415

    folder = LocalSettings().folder
    state = read_state(folder)
    if state is None:
        print("The system is not running: `make run` starts it.", file=sys.stderr)
        raise SystemExit(2)
    for name, value in audit_environment(folder, state).items():
        os.environ.setdefault(name, value)

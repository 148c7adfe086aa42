"""Settings that every service has, read once from the environment."""

import sys
from enum import StrEnum
from typing import Annotated, Literal, TypeVar

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class Role(StrEnum):
    """A part of a service's work. A process has one or more roles, by default all."""

    API = "api"
    RELAY = "relay"
    CONSUMER = "consumer"
    JOBS = "jobs"


RelayLingerMs = Annotated[int, Field(ge=0, le=1_000)]
"""The relay polls every 1,000 ms, so it never lingers for longer."""


def _split(value: object) -> object:
    return frozenset(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


class StorageSettings(BaseSettings):
    """Addresses of a service's database and broker, which its migrations and operators' commands need.

    URLs that contain a password are not part of the repr.
    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    database_url: Annotated[str, Field(repr=False)]
    kafka_bootstrap_servers: str
    kafka_topic_prefix: str = ""
    log_format: Literal["json", "console"] = "json"
    log_level: Literal["debug", "info", "warning", "error"] = "info"


class ServiceSettings(StorageSettings):
    """Settings of a serving process. Each service has a subclass with its `env_prefix`."""

    database_pool_size: Annotated[int, Field(gt=0)] = 10
    valkey_url: Annotated[str, Field(repr=False)]
    kafka_idempotent_producer: bool = True
    """False only for a broker without idempotent producers: it may store a retried batch twice."""
    relay_linger_ms: RelayLingerMs = 0
    """Time that the relay waits after a commit for more events, to publish them together."""
    http_host: str = "127.0.0.1"
    http_port: Annotated[int, Field(ge=0, le=65535)]
    trusted_proxies: str = "127.0.0.1"
    """Comma-separated addresses, or *, whose X-Forwarded-For header is trusted."""
    jwks_url: str | None = None
    token_issuer: str = "orderly"  # noqa: S105 - no secret
    rate_limit: str = "600/minute"
    """Limit of requests under /v1 for each caller, or for each address if the caller is unknown."""
    roles: Annotated[frozenset[Role], NoDecode, BeforeValidator(_split), Field(min_length=1)] = frozenset(Role)
    """Comma-separated roles of this process. Health and metrics are served in every role."""


SettingsT = TypeVar("SettingsT", bound=BaseSettings)


def load(settings_class: type[SettingsT], *, prefix: str | None = None) -> SettingsT:
    """Read the settings from the environment. `prefix` replaces the `env_prefix` of the class.

    Exits with status 2, and prints a line for each missing or invalid setting to stderr.
    """
    prefix = settings_class.model_config.get("env_prefix", "") if prefix is None else prefix
    try:
        return settings_class(_env_prefix=prefix)
    except ValidationError as error:
        for problem in error.errors(include_url=False, include_input=False, include_context=False):
            variable = prefix + "__".join(str(part) for part in problem["loc"])
            print(f"{variable.upper()}: {_message(problem['type'], problem['msg'])}", file=sys.stderr)  # noqa: T201
        raise SystemExit(2) from None


def _message(kind: str, message: str) -> str:
    return "is not set" if kind == "missing" else message[0].lower() + message[1:]

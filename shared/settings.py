"""Settings that every service shares, read once from the environment."""

import sys
from enum import StrEnum
from typing import Annotated, Literal, TypeVar

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class Role(StrEnum):
    """A part of a service's work that a process can do; all of them by default."""

    API = "api"
    RELAY = "relay"
    CONSUMER = "consumer"
    JOBS = "jobs"


def _listed(value: object) -> object:
    return frozenset(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


class StorageSettings(BaseSettings):
    """Where a service keeps its data: all that its migrations need. URLs that hold a password stay out of the repr."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    database_url: Annotated[str, Field(repr=False)]
    kafka_bootstrap_servers: str
    kafka_topic_prefix: str = ""
    log_format: Literal["json", "console"] = "json"
    log_level: Literal["debug", "info", "warning", "error"] = "info"


class ServiceSettings(StorageSettings):
    """A service subclasses this with its own `env_prefix`."""

    database_pool_size: Annotated[int, Field(gt=0)] = 10
    valkey_url: Annotated[str, Field(repr=False)]
    kafka_idempotent_producer: bool = True
    """False only for a broker that has no idempotent producers; a retried batch may then be there twice."""
    http_host: str = "127.0.0.1"
    http_port: Annotated[int, Field(ge=0, le=65535)]
    trusted_proxies: str = "127.0.0.1"
    """Addresses (comma-separated, or *) whose X-Forwarded-For is believed."""
    jwks_url: str | None = None
    token_issuer: str = "orderly"  # noqa: S105 - a name
    rate_limit: str = "600/minute"
    """For each caller, or address where there is none, over all of /v1."""
    roles: Annotated[frozenset[Role], NoDecode, BeforeValidator(_listed), Field(min_length=1)] = frozenset(Role)
    """What this process does, comma-separated. Health and metrics answer in every role."""


SettingsT = TypeVar("SettingsT", bound=BaseSettings)


def load(settings_class: type[SettingsT], *, prefix: str | None = None) -> SettingsT:
    """Read the environment; what is missing or wrong ends the process with status 2 and one line each on stderr.

    `prefix` stands in for a class's own `env_prefix`.
    """
    prefix = settings_class.model_config.get("env_prefix", "") if prefix is None else prefix
    try:
        return settings_class(_env_prefix=prefix)
    except ValidationError as error:
        for problem in error.errors(include_url=False, include_input=False, include_context=False):
            variable = prefix + "__".join(str(part) for part in problem["loc"])
            print(f"{variable.upper()}: {_said_plainly(problem['type'], problem['msg'])}", file=sys.stderr)  # noqa: T201
        raise SystemExit(2) from None


def _said_plainly(kind: str, message: str) -> str:
    return "is not set" if kind == "missing" else message[0].lower() + message[1:]

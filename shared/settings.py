"""Settings that every service has, read once from the environment."""

import os
import sys
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from shared.connection_urls import check_readable, dsn_of, valkey_url_of


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


def _split_pairs(value: object) -> object:
    if not isinstance(value, str):
        return value
    pairs = [part.partition("=") for part in value.split(",") if part.strip()]
    if not all(separator for _, separator, _ in pairs):
        raise ValueError("is not of the form name=limit, separated by commas")
    return {name.strip(): limit.strip() for name, _, limit in pairs}


def _readable(path: Path) -> Path:
    check_readable(path)
    return path


ReadableFile = Annotated[Path, AfterValidator(_readable)]
"""A file that exists and can be read when the settings are."""
CollectorUrl = Annotated[str, Field(pattern=r"^(https?://.+)?$")]
"""Empty: no collector, as in compose without a value."""
Password = Annotated[str | None, Field(repr=False)]
Origin = Annotated[str, Field(pattern=r"^(\*|https?://(\[[0-9a-f:.]+\]|[a-z0-9.-]+)(:[0-9]{1,5})?)$")]
"""An origin as browsers send it, in lower case and without a path; * stands for any."""
SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism = Literal["SCRAM-SHA-512", "SCRAM-SHA-256"]


class KafkaSettings(BaseSettings):
    """Address of Kafka, and the security of the connections to it.

    Passwords are not part of the repr. A field that another one completes precedes it: pydantic validates in order.
    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    kafka_bootstrap_servers: str
    kafka_topic_prefix: str = ""
    kafka_sasl_mechanism: SaslMechanism = "SCRAM-SHA-512"
    kafka_username: str | None = None
    kafka_password: Password = None
    kafka_ca_file: ReadableFile | None = None
    """Certificates of the CAs that may sign Kafka's. Default: those of the system."""
    kafka_certificate_file: ReadableFile | None = None
    """Certificate of the client, if Kafka asks for one, with its key in `kafka_key_file`."""
    kafka_key_file: ReadableFile | None = None
    kafka_security_protocol: Annotated[SecurityProtocol, Field(validate_default=True)] = "PLAINTEXT"

    @field_validator("kafka_security_protocol")
    @classmethod
    def _check_kafka_security(cls, protocol: SecurityProtocol, info: ValidationInfo) -> SecurityProtocol:
        """Refuse credentials that would be missing or unused: unused ones mean less security than intended."""
        given = {name for name, value in info.data.items() if name.startswith("kafka_") and value is not None}
        log_in, certificate = {"kafka_username", "kafka_password"}, {"kafka_certificate_file", "kafka_key_file"}
        unused = given & (set() if "SASL" in protocol else log_in)
        unused |= given & (set() if "SSL" in protocol.split("_") else {"kafka_ca_file", *certificate})
        if unused:
            raise ValueError(f"is {protocol}, which does not use {min(unused).upper()}")
        missing = log_in - given if "SASL" in protocol else set()
        missing |= certificate - given if certificate & given else set()
        if missing:
            raise ValueError(f"is {protocol}, and {min(missing).upper()} is not set")
        return protocol


class StorageSettings(KafkaSettings):
    """Addresses of a service's database and broker, which its migrations and operators' commands need.

    URLs that contain a password are not part of the repr.
    """

    database_password: Password = None
    """Completes `database_url`."""
    database_url: Annotated[str, Field(repr=False)]
    """postgresql://user@host:port/database?sslmode=verify-full&sslrootcert=ca.pem, with libpq's parameters."""
    migrations_database_password: Password = None
    """Completes `migrations_database_url`."""
    migrations_database_url: Annotated[str | None, Field(repr=False, validate_default=True)] = None
    """URL with the role that owns the schema; migrations use it. Default: `database_url`."""
    log_format: Literal["json", "console"] = "json"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @property
    def owner_database_url(self) -> str:
        """URL with the role that owns the schema."""
        return self.migrations_database_url or self.database_url

    @field_validator("database_url", "migrations_database_url")
    @classmethod
    def _complete_database_url(cls, url: str | None, info: ValidationInfo) -> str | None:
        password = info.data.get(f"{str(info.field_name).removesuffix('_url')}_password")
        if url is not None:
            return dsn_of(url, password=password)
        if password is not None:
            raise ValueError("is not set, although its password is")
        return None


class ServiceSettings(StorageSettings):
    """Settings of a serving process. Each service has a subclass with its `env_prefix`."""

    database_pool_size: Annotated[int, Field(gt=0)] = 10
    valkey_password: Password = None
    """Completes `valkey_url`."""
    valkey_url: Annotated[str, Field(repr=False)]
    """redis://host:port/0, or rediss://host:port/0?ssl_ca_certs=ca.pem for TLS."""
    kafka_idempotent_producer: bool = True
    """False only for a broker without idempotent producers: it may store a retried batch twice."""
    relay_linger_ms: RelayLingerMs = 0
    """Time that the relay waits after a commit for more events, to publish them together."""
    http_host: str = "127.0.0.1"
    http_port: Annotated[int, Field(ge=0, le=65535)]
    http_key_file: ReadableFile | None = None
    http_certificate_file: Annotated[ReadableFile | None, Field(validate_default=True)] = None
    """The listener's certificate, with its key in `http_key_file`. Without them it serves plain HTTP."""
    otlp_endpoint: CollectorUrl | None = None
    """Base URL of an OpenTelemetry collector that takes OTLP over HTTP: spans go to /v1/traces, log lines to /v1/logs.
    Default: none, and nothing is recorded."""
    trace_sample_ratio: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of the new traces whose spans are exported. In a trace that a caller began, the caller decides."""
    shutdown_delay_seconds: Annotated[float, Field(ge=0, le=300)] = 0
    """Time after SIGTERM for which the process is not ready and still serves, so that load balancers notice. With a
    gateway that checks readiness, more than the interval of its checks."""
    watchdog_limit_seconds: Annotated[float, Field(ge=0)] = 60
    """Time for which the process may be not live before it ends itself with status 70. 0: never, for an orchestrator
    that probes `/health/live` itself."""
    trusted_proxies: str = "127.0.0.1"
    """Comma-separated addresses, or *, whose X-Forwarded-For header is trusted."""
    users_url: str | None = None
    """http(s)://host:port of the users service, which every other service asks; several are separated by commas."""
    users_token: Password = None
    """Token of this service for the internal routes of the users service."""
    users_ca_file: ReadableFile | None = None
    """Certificates of the CAs that may sign the one of `users_url`. Default: those of the system."""
    token_issuer: str = "orderly"  # noqa: S105 - no secret
    clock_tolerance_seconds: Annotated[int, Field(ge=0, le=300)] = 5
    """Access tokens are accepted for this much longer, and as much earlier, in case the machines' clocks differ."""
    cors_origins: Annotated[frozenset[Origin], NoDecode, BeforeValidator(_split)] = frozenset()
    """Comma-separated origins, such as https://shop.example, or *, whose pages may call the API. Default: none."""
    max_concurrent_requests: Annotated[int, Field(gt=0)] = 32
    """Requests that this process works on at once. Raised, responses become slower under load; lowered below
    `database_pool_size`, connections stay unused."""
    max_waiting_requests: Annotated[int, Field(ge=0)] = 64
    """Requests that may wait up to half a second to be worked on. The surplus gets 503 `overloaded` at once."""
    rate_limit: str = "600/minute"
    """Limit of requests under /v1 for each caller, or for each address if the caller is unknown."""
    route_rate_limits: Annotated[dict[str, str], NoDecode, BeforeValidator(_split_pairs)] = {}
    """Limits that replace those of costly routes, such as lists=600/minute,place_orders=10/second; * stands for all."""
    roles: Annotated[frozenset[Role], NoDecode, BeforeValidator(_split), Field(min_length=1)] = frozenset(Role)
    """Comma-separated roles of this process. Health and metrics are served in every role."""

    @property
    def clock_tolerance(self) -> timedelta:
        """The tolerance as a duration."""
        return timedelta(seconds=self.clock_tolerance_seconds)

    @field_validator("valkey_url")
    @classmethod
    def _complete_valkey_url(cls, url: str, info: ValidationInfo) -> str:
        return valkey_url_of(url, password=info.data.get("valkey_password"))

    @field_validator("http_certificate_file")
    @classmethod
    def _check_http_files(cls, certificate: Path | None, info: ValidationInfo) -> Path | None:
        if (certificate is None) != (info.data.get("http_key_file") is None):
            raise ValueError("needs HTTP_KEY_FILE, and the other way round")
        return certificate


SettingsT = TypeVar("SettingsT", bound=BaseSettings)


def load(settings_class: type[SettingsT], *, prefix: str | None = None) -> SettingsT:
    """Read the settings from the environment. `prefix` replaces the `env_prefix` of the class.

    The variable NAME_FILE names a file that contains the value of NAME, without the line break at its end. Exits with
    status 2, and prints a line for each missing or invalid setting to stderr.
    """
    prefix = settings_class.model_config.get("env_prefix", "") if prefix is None else prefix
    from_files, problems = _read_files(settings_class, prefix)
    try:
        settings = settings_class(_env_prefix=prefix, **from_files)
    except ValidationError as error:
        unreadable = {line.partition(":")[0].removesuffix("_FILE") for line in problems}
        for problem in error.errors(include_url=False, include_input=False, include_context=False):
            variable = (prefix + "__".join(str(part) for part in problem["loc"])).upper()
            if variable not in unreadable:
                problems.append(f"{variable}: {_message(problem['type'], problem['msg'])}")
    if not problems:
        return settings
    print("\n".join(problems), file=sys.stderr)  # noqa: T201
    raise SystemExit(2)


def _read_files(settings_class: type[BaseSettings], prefix: str) -> tuple[dict[str, Any], list[str]]:
    """Return the settings whose values are in files, and a line for each file that cannot be used."""
    values: dict[str, Any] = {}
    problems: list[str] = []
    for field in settings_class.model_fields:
        name = f"{prefix}{field}".upper()
        path = os.environ.get(f"{name}_FILE")
        if path is None or f"{field}_file" in settings_class.model_fields:
            continue
        if name in os.environ:
            problems.append(f"{name}_FILE: is set, and {name} too")
            continue
        try:
            values[field] = Path(path).read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
        except (OSError, UnicodeDecodeError) as error:
            cause = getattr(error, "strerror", None) or "cannot be decoded as UTF-8"
            problems.append(f"{name}_FILE: names the file {path}: {cause.lower()}")
    return values, problems


def _message(kind: str, message: str) -> str:
    if kind == "missing":
        return "is not set"
    message = message.removeprefix("Value error, ")
    return message[0].lower() + message[1:]

"""Settings of the users service: the environment variables USERS_*."""

from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from shared.amounts import MAX_AMOUNT_CENTS
from shared.settings import ServiceSettings


def _tokens_of(text: object) -> object:
    """Return the tokens of "service=token" pairs, which commas or line breaks separate."""
    if not isinstance(text, str):
        return text
    pairs = (part.strip().partition("=") for part in text.replace(",", "\n").splitlines() if part.strip())
    return {name: token for name, _, token in pairs}


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _host_name(name: str) -> str:
    """Return the name of a host; a WebAuthn relying party is named by its domain. Raises: ValueError."""
    try:
        ip_address(name)
    except ValueError:
        return name
    raise ValueError("must be a domain or localhost: browsers accept no IP address as the id of a relying party")


def _web_origin(origin: str) -> str:
    """Return an origin as browsers write it. Raises: ValueError."""
    parts = urlsplit(origin)
    is_secure = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname == "localhost")
    if not is_secure or origin != f"{parts.scheme}://{parts.netloc}":
        raise ValueError("must be https://domain[:port], or http://localhost[:port]")
    return origin


WebOrigin = Annotated[str, AfterValidator(_web_origin)]
ServiceToken = Annotated[str, Field(min_length=16)]


class Settings(ServiceSettings):
    """Settings of one process: read once at its start, frozen."""

    model_config = SettingsConfigDict(env_prefix="USERS_")

    http_port: Annotated[int, Field(ge=0, le=65535)] = 8001
    signing_keys_file: Path
    """A file with a JWK Set of private Ed25519 keys: the first one signs, all of them verify."""
    encryption_keys_file: Path
    """A file with a Fernet key per line: the first one encrypts secrets in the database, all of them decrypt."""
    service_tokens: Annotated[
        dict[str, ServiceToken], NoDecode, BeforeValidator(_tokens_of), Field(min_length=1, repr=False)
    ]
    """The tokens of the services that may use the internal routes, as "orders=...,notifications=..."."""
    webauthn_rp_id: Annotated[str, Field(pattern=r"^[a-z0-9.-]+$"), AfterValidator(_host_name)]
    """The domain that passkeys belong to, such as orderly.example. With another one, all passkeys are lost."""
    webauthn_origins: Annotated[tuple[WebOrigin, ...], NoDecode, BeforeValidator(_split), Field(min_length=1)]
    """The origins, separated by commas, of the pages that may use passkeys: of this domain or its subdomains."""
    step_up_minutes: Annotated[int, Field(gt=0, le=60)] = 10
    """Minutes after a sign-in or a step-up in which a session may make sensitive changes."""
    access_token_minutes: Annotated[int, Field(gt=0, le=60)] = 15
    """Lifetime of an access token. A revoked session's token works for this long at most."""
    refresh_token_days: Annotated[int, Field(gt=0, le=365)] = 30
    """Lifetime of a refresh token and of its session; each refresh begins it anew."""
    default_credit_limit_cents: Annotated[int, Field(ge=0, le=MAX_AMOUNT_CENTS)] = 100_000
    credit_currency: Annotated[str, Field(pattern="^[A-Z]{3}$")] = "GBP"
    password_hashing_concurrency: Annotated[int, Field(gt=0)] = 2
    """Passwords hashed at once by this process; each takes a core for 0.1 s, and 19 MiB."""
    sign_in_failures_per_account_and_address: Annotated[int, Field(gt=0)] = 10
    sign_in_failures_per_account: Annotated[int, Field(gt=0)] = 100
    """Does not block an account at addresses from which it has signed in before."""
    sign_in_failures_per_address: Annotated[int, Field(gt=0)] = 100
    sign_in_failures_minutes: Annotated[int, Field(gt=0)] = 15
    """Minutes that failures count, from the first one on."""
    shared_client_networks: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(_split)] = ()
    """Networks, separated by commas, whose addresses stand for many clients, such as a container engine's bridge."""

    @model_validator(mode="after")
    def _check_origins(self) -> Self:
        for origin in self.webauthn_origins:
            host = urlsplit(origin).hostname or ""
            if host != self.webauthn_rp_id and not host.endswith(f".{self.webauthn_rp_id}"):
                raise ValueError(f"{origin} is not of the domain {self.webauthn_rp_id}")
        return self

    @property
    def step_up_max_age(self) -> timedelta:
        return timedelta(minutes=self.step_up_minutes)

    @property
    def access_token_lifetime(self) -> timedelta:
        return timedelta(minutes=self.access_token_minutes)

    @property
    def refresh_token_lifetime(self) -> timedelta:
        return timedelta(days=self.refresh_token_days)

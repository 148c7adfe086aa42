"""Settings of the users service: the environment variables USERS_*."""

from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import BeforeValidator, Field
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


ServiceToken = Annotated[str, Field(min_length=16)]


class SessionLimits(NamedTuple):
    """The lifetimes of sessions and refresh tokens, and how many sessions a user may have."""

    refresh_token_lifetime: timedelta
    refresh_grace: timedelta
    lifetime: timedelta
    per_user: int


class Settings(ServiceSettings):
    """Settings of one process: read once at its start, frozen."""

    model_config = SettingsConfigDict(env_prefix="USERS_")

    http_port: Annotated[int, Field(ge=0, le=65535)] = 8001
    encryption_keys_file: Path
    """A file with a Fernet key per line: the first one encrypts secrets in the database, all of them decrypt."""
    service_tokens: Annotated[
        dict[str, ServiceToken], NoDecode, BeforeValidator(_tokens_of), Field(min_length=1, repr=False)
    ]
    """The tokens of the services that may use the internal routes, as "orders=...,notifications=..."."""
    access_token_minutes: Annotated[int, Field(gt=0, le=60)] = 15
    """Lifetime of an access token, which has the roles of the time of its issue."""
    signing_key_overlap_minutes: Annotated[int, Field(ge=10, le=1_440)] = 20
    """Time from the publication of a new signing key to its first use. By then every verifier must have fetched it:
    services and clients cache the keys for five minutes, and HTTP caches for as long again."""
    refresh_token_days: Annotated[int, Field(gt=0, le=365)] = 30
    """Lifetime of a refresh token and of its session; each refresh begins it anew."""
    refresh_grace_seconds: Annotated[int, Field(ge=0, le=60)] = 10
    """Time in which a used refresh token still gets the same successor, for two tabs and repeated requests. Later, its
    use revokes the session."""
    session_days: Annotated[int, Field(gt=0, le=3_650)] = 180
    """Absolute lifetime of a session. Then the user has to sign in again."""
    sessions_per_user: Annotated[int, Field(gt=0, le=1_000)] = 20
    """Open sessions of one user. A new one ends the one that was used longest ago."""
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

    @property
    def access_token_lifetime(self) -> timedelta:
        return timedelta(minutes=self.access_token_minutes)

    @property
    def tokens_valid_for(self) -> timedelta:
        """Upper bound of the time from the issue of an access token until every service refuses it."""
        return self.access_token_lifetime + self.clock_tolerance

    @property
    def signing_key_overlap(self) -> timedelta:
        return timedelta(minutes=self.signing_key_overlap_minutes)

    @property
    def session_limits(self) -> SessionLimits:
        return SessionLimits(
            refresh_token_lifetime=timedelta(days=self.refresh_token_days),
            refresh_grace=timedelta(seconds=self.refresh_grace_seconds),
            lifetime=timedelta(days=self.session_days),
            per_user=self.sessions_per_user,
        )

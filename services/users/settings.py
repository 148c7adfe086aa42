"""Settings of the users service: the environment variables USERS_*."""

from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated

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
    sign_up_reveals_accounts: bool = True
    """Whether a sign-up for a known address gets 409. If not, all get the same 202, and the address gets a mail."""
    email_verification_hours: Annotated[int, Field(gt=0, le=168)] = 24
    """Lifetime of the link that verifies an address."""
    email_change_minutes: Annotated[int, Field(gt=0, le=1440)] = 60
    """Lifetime of the link that a new address gets."""
    password_reset_minutes: Annotated[int, Field(gt=0, le=1440)] = 60
    """Lifetime of the link that resets a password."""
    one_time_tokens_per_hour: Annotated[int, Field(gt=0, le=100)] = 3
    """Links of one purpose that are mailed to a user within an hour."""
    unverified_account_days: Annotated[int, Field(gt=0)] = 30
    """Days after which an account is purged whose address nobody has verified, unless it has credit in use."""

    @property
    def access_token_lifetime(self) -> timedelta:
        return timedelta(minutes=self.access_token_minutes)

    @property
    def refresh_token_lifetime(self) -> timedelta:
        return timedelta(days=self.refresh_token_days)

"""Settings of the users service: the environment variables USERS_*."""

from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from shared.amounts import MAX_AMOUNT_CENTS
from shared.settings import ReadableFile, ServiceSettings

PACKAGED_BREACHED_PASSWORDS = Path(__file__).parent / "credentials" / "breached_passwords.bloom"
LimitText = Annotated[str, Field(pattern=r"^[1-9]\d* */ *([1-9]\d* *)?(second|minute|hour|day)s?$")]
"""A number of requests in a time, such as 10/minute or 5/10 seconds."""


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


class Settings(ServiceSettings):
    """Settings of one process: read once at its start, frozen."""

    model_config = SettingsConfigDict(env_prefix="USERS_")

    http_port: Annotated[int, Field(ge=0, le=65535)] = 8001
    signing_keys_file: Path
    """A file with a JWK Set of private Ed25519 keys: the first one signs, all of them verify."""
    access_token_minutes: Annotated[int, Field(gt=0, le=60)] = 15
    """Lifetime of an access token. A revoked session's token works for this long at most."""
    refresh_token_days: Annotated[int, Field(gt=0, le=365)] = 30
    """Lifetime of a refresh token and of its session; each refresh begins it anew."""
    default_credit_limit_cents: Annotated[int, Field(ge=0, le=MAX_AMOUNT_CENTS)] = 100_000
    credit_currency: Annotated[str, Field(pattern="^[A-Z]{3}$")] = "GBP"
    password_hashing_concurrency: Annotated[int, Field(gt=0)] = 2
    """Passwords hashed at once by this process; each takes a core for 0.05 s, and 19 MiB."""
    password_hashing_max_waiting: Annotated[int, Field(ge=0)] = 32
    """Requests of each use (sign-in, sign-up, change) that may wait for it. The surplus gets 503 at once."""
    password_min_strength: Annotated[int, Field(ge=0, le=4)] = 3
    """The least score of zxcvbn that a new password needs: 3 means 10^8 guesses or more, 4 means 10^10."""
    breached_passwords_file: ReadableFile = PACKAGED_BREACHED_PASSWORDS
    """A filter that `python -m services.users passwords build-filter` made of a list of your own."""
    sign_in_free_failures: Annotated[int, Field(gt=0)] = 5
    """Failed sign-ins before delays begin: of an account from one host, or from one known device."""
    sign_in_free_failures_per_account: Annotated[int, Field(gt=0)] = 20
    """The same for an account from anywhere, known devices aside."""
    sign_in_free_failures_per_host: Annotated[int, Field(gt=0)] = 50
    """The same for an IPv4 address or an IPv6 /64. A /24 and a /48 have four times as many."""
    sign_in_max_delay_seconds: Annotated[int, Field(gt=0, le=1_800)] = 300
    """The longest delay. It is 1 s after the last free failure, and doubles with each further one."""
    sign_in_max_delay_seconds_per_account: Annotated[int, Field(gt=0, le=1_800)] = 60
    """The longest delay of an account from anywhere. Shorter, since its user waits too, on a new device."""
    sign_in_failures_minutes: Annotated[int, Field(gt=0)] = 60
    """Minutes that failures count after the last attempt. Must be longer than the longest delay."""
    sign_in_limit_per_host: LimitText = "60/minute"
    """Requests, right or wrong. A host is an IPv4 address or an IPv6 /64; a site is a /24 or a /48."""
    sign_in_limit_per_site: LimitText = "600/minute"
    sign_up_limit_per_host: LimitText = "20/hour"
    """Limits of sign-ups keep addresses from being harvested by their 409."""
    sign_up_limit_per_site: LimitText = "200/hour"
    sign_up_limit_per_email: LimitText = "10/hour"
    refresh_limit_per_host: LimitText = "120/minute"
    refresh_limit_per_site: LimitText = "1200/minute"
    refresh_limit_per_token: LimitText = "10/minute"  # noqa: S105 - no secret
    reset_limit_per_host: LimitText = "20/hour"
    """Limits of password resets keep mailboxes from being flooded."""
    reset_limit_per_site: LimitText = "200/hour"
    reset_limit_per_email: LimitText = "3/hour"
    shared_client_networks: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(_split)] = ()
    """Networks, separated by commas, whose addresses stand for many clients, such as a container engine's bridge. There
    the limits and delays per host and site do not apply."""

    @field_validator("sign_in_failures_minutes")
    @classmethod
    def _check_failures_minutes(cls, minutes: int, info: ValidationInfo) -> int:
        longest = max(
            info.data.get(name, 0) for name in ("sign_in_max_delay_seconds", "sign_in_max_delay_seconds_per_account")
        )
        if 60 * minutes <= longest:
            raise ValueError("is not longer than the longest delay: waiting would undo it")
        return minutes

    @property
    def access_token_lifetime(self) -> timedelta:
        return timedelta(minutes=self.access_token_minutes)

    @property
    def refresh_token_lifetime(self) -> timedelta:
        return timedelta(days=self.refresh_token_days)

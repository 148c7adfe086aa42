"""Settings of the users service: the environment variables USERS_*."""

from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from typing import Annotated, NamedTuple, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from shared.amounts import MAX_AMOUNT_CENTS
from shared.settings import ReadableFile, ServiceSettings

PACKAGED_BREACHED_PASSWORDS = Path(__file__).parent / "credentials" / "breached_passwords.bloom"
LimitText = Annotated[str, Field(pattern=r"^[1-9]\d* */ *([1-9]\d* *)?(second|minute|hour|day)s?$")]
"""A number of requests in a time, such as 10/minute or 5/10 seconds."""


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
    webauthn_rp_id: Annotated[str, Field(pattern=r"^[a-z0-9.-]+$"), AfterValidator(_host_name)]
    """The domain that passkeys belong to, such as orderly.example. With another one, all passkeys are lost."""
    webauthn_origins: Annotated[tuple[WebOrigin, ...], NoDecode, BeforeValidator(_split), Field(min_length=1)]
    """The origins, separated by commas, of the pages that may use passkeys: of this domain or its subdomains."""
    step_up_minutes: Annotated[int, Field(gt=0, le=60)] = 10
    """Minutes after a sign-in or a step-up in which a session may make sensitive changes."""
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
    max_concurrent_requests: Annotated[int, Field(gt=0)] = 130
    """Requests that this process works on at once. Up to 98 of them only wait for the hashing of passwords."""
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
    mailed_link_limit_per_host: LimitText = "20/hour"
    """Limits of requests for links, such as password resets, keep mailboxes from being flooded."""
    mailed_link_limit_per_site: LimitText = "200/hour"
    mailed_link_limit_per_email: LimitText = "5/hour"
    shared_client_networks: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(_split)] = ()
    """Networks, separated by commas, whose addresses stand for many clients, such as a container engine's bridge. There
    the limits and delays per host and site do not apply."""
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

    data_export_days: Annotated[int, Field(gt=0, le=90)] = 7
    """Days for which a ready export of a user's data can be downloaded."""
    data_exports_per_day: Annotated[int, Field(gt=0, le=100)] = 3
    """Exports that a user may request within 24 hours."""

    @field_validator("sign_in_failures_minutes")
    @classmethod
    def _check_failures_minutes(cls, minutes: int, info: ValidationInfo) -> int:
        longest = max(
            info.data.get(name, 0) for name in ("sign_in_max_delay_seconds", "sign_in_max_delay_seconds_per_account")
        )
        if 60 * minutes <= longest:
            raise ValueError("is not longer than the longest delay: waiting would undo it")
        return minutes

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
    def tokens_valid_for(self) -> timedelta:
        """Upper bound of the time from the issue of an access token until every service refuses it."""
        return self.access_token_lifetime + self.clock_tolerance

    @property
    def data_export_lifetime(self) -> timedelta:
        return timedelta(days=self.data_export_days)

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

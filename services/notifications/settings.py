"""Settings of the notifications service: the environment variables NOTIFICATIONS_*."""

from email.headerregistry import Address
from email.utils import parseaddr
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo, field_validator
from pydantic_settings import SettingsConfigDict

from services.notifications.smtp_url import SmtpAddress
from shared.connection_urls import with_password
from shared.settings import Password, RelayLingerMs, ServiceSettings


def address_of(mailbox: str) -> Address:
    """Parse a mailbox of the form "Name <address>"."""
    name, address = parseaddr(mailbox)
    return Address(display_name=name, addr_spec=address)


def _mailbox(value: str) -> str:
    if not address_of(value).domain:
        raise ValueError("must look like Name <name@example.org>")
    return value


class Settings(ServiceSettings):
    """Settings of one process: read once at its start, frozen."""

    model_config = SettingsConfigDict(env_prefix="NOTIFICATIONS_")

    relay_linger_ms: RelayLingerMs = 100
    """Saves work: no step of an order waits for these events."""
    users_url: str
    """URL of the users service, for the keys of access tokens and of personal data, and for revoked sessions."""
    users_token: Annotated[str, Field(repr=False)]
    smtp_password: Password = None
    """Completes `smtp_url`."""
    smtp_url: Annotated[str, Field(repr=False)]
    """smtps://[user@]host:port, or smtp://[user@]host:port[?starttls=required|never], either with ca_file=ca.pem"""
    mail_from: Annotated[str, AfterValidator(_mailbox)]
    """Sender of all mails, as "Name <address>"."""
    public_url: str
    """URL of the system that mails link to."""
    retention_days: Annotated[int, Field(ge=30, le=3650)] = 90
    """Days for which notifications are kept. Fewer than 30 would be fewer than a consumer's inbox remembers events."""
    erasure_wait_minutes: Annotated[float, Field(ge=0, le=1_440)] = 60
    """Minutes that the erasure of a recipient waits for mails that are being sent. Then these are dropped."""
    delivery_retry_hours: Annotated[float, Field(gt=0, le=240)] = 24
    """Hours for which a delivery is tried. An attempt that fails later is the last one."""
    delivery_initial_retry_seconds: Annotated[float, Field(ge=0.1, le=3_600)] = 60
    """Delay before the first retry; doubles each time. Lower it for tests only."""
    delivery_max_retry_seconds: Annotated[float, Field(ge=0.1, le=86_400)] = 3_600
    """Upper bound of the delay, to which up to a half is added at random. It is how long mails wait at most after an
    outage of the mail server has ended."""

    @field_validator("smtp_url")
    @classmethod
    def _complete_smtp_url(cls, url: str, info: ValidationInfo) -> str:
        completed = with_password(url, info.data.get("smtp_password"))
        SmtpAddress.of(completed)
        return completed

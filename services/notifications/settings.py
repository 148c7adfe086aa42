"""NOTIFICATIONS_* of the environment, as one frozen object."""

from email.headerregistry import Address
from email.utils import parseaddr
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field
from pydantic_settings import SettingsConfigDict

from shared.settings import ServiceSettings


def _smtp_url(value: str) -> str:
    if urlsplit(value).scheme != "smtp" or not urlsplit(value).hostname:
        raise ValueError("must look like smtp://[user:password@]host:port[?starttls=1]")
    return value


def _mailbox(value: str) -> str:
    name, address = parseaddr(value)
    if not Address(display_name=name, addr_spec=address).domain:
        raise ValueError("must look like Name <name@example.org>")
    return value


class Settings(ServiceSettings):
    """Settings of the notifications service."""

    model_config = SettingsConfigDict(env_prefix="NOTIFICATIONS_")

    jwks_url: str
    smtp_url: Annotated[str, AfterValidator(_smtp_url), Field(repr=False)]
    mail_from: Annotated[str, AfterValidator(_mailbox)]
    public_url: str
    """Where people reach the system; mails link to it."""
    delivery_attempts: Annotated[int, Field(ge=1, le=50)] = 8
    """Tries of one delivery, 1 s apart at first and doubling to 5 min, before it has failed."""

"""The URL of the mail server: where it is, who logs in, and whether the connection is encrypted."""

import ssl
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Self
from urllib.parse import parse_qsl, unquote, urlsplit

from shared.connection_urls import check_readable

FORM = "smtps://[user:password@]host:port, or smtp://[user:password@]host:port[?starttls=required|never]"


@dataclass(frozen=True)
class SmtpAddress:
    """A mail server and the security of its connections."""

    hostname: str
    port: int
    username: str | None
    password: str | None = field(repr=False)
    has_implicit_tls: bool
    start_tls: bool | None
    """True: STARTTLS is required. None: used if the server offers it. False: never."""
    ca_file: Path | None

    @classmethod
    def of(cls, url: str) -> Self:
        """Parse a URL. Raises: ValueError.

        Credentials are sent over TLS only, even if somebody between hides the server's offer: with a user, `smtp://`
        requires STARTTLS, except on a loopback address. `starttls=never` is the explicit way to send everything in
        plain text.
        """
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        mode, ca_file = options.pop("starttls", None), options.pop("ca_file", None)
        if parts.scheme not in {"smtp", "smtps"} or not parts.hostname or options:
            raise ValueError(f"must look like {FORM}[&ca_file=ca.pem]")
        if mode not in {None, "required", "never"} or (mode and parts.scheme == "smtps"):
            raise ValueError("has an unknown starttls: smtp:// takes required or never, smtps:// takes none")
        if ca_file is not None:
            check_readable(ca_file)
        is_required = mode == "required" or (parts.username is not None and not _is_loopback(parts.hostname))
        return cls(
            hostname=parts.hostname,
            port=parts.port or (465 if parts.scheme == "smtps" else 25),
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            has_implicit_tls=parts.scheme == "smtps",
            start_tls=False if mode == "never" or parts.scheme == "smtps" else is_required or None,
            ca_file=Path(ca_file) if ca_file else None,
        )

    def tls_context(self) -> ssl.SSLContext:
        """Return the context that verifies the server's certificate and name. Raises: OSError."""
        return ssl.create_default_context(cafile=self.ca_file)


def _is_loopback(hostname: str) -> bool:
    try:
        return hostname == "localhost" or ip_address(hostname).is_loopback
    except ValueError:
        return False

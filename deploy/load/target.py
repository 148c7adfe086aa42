"""The target of a load: an address, credentials, and what else is known of it."""

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from deploy.demo.accounts import Account
from deploy.demo.client import Client
from deploy.local.credentials import ADMIN_EMAIL, SERVICES
from deploy.local.process import LocalError
from deploy.local.state import admin_password_of

PREPARATION_TIMEOUT_SECONDS = 180
"""Maximum time for one request of the preparation, retries included: limits of requests reset within a minute."""


@dataclass(frozen=True, kw_only=True)
class LoadTarget:
    """A system under load."""

    url: str
    admin_email: str = ADMIN_EMAIL
    admin_password: str | None = field(default=None, repr=False)
    metrics_urls: Mapping[str, str] = field(default_factory=dict)
    """The base URL of each process whose /metrics can be read, by a name of the caller's choice."""
    accounts_file: Path
    ca_file: str | None = None
    orders_database_url: str | None = field(default=None, repr=False)
    """The database of orders, in which stock is refilled faster than requests may. Only of the system of `make run`."""

    @classmethod
    def of_state(cls, state: Mapping[str, Any], *, accounts_file: Path) -> "LoadTarget":
        """Return the system of `make run`, from the content of its state file."""
        return cls(
            url=state["urls"]["gateway"],
            admin_password=admin_password_of(state),
            metrics_urls={service: state["urls"][service] for service in SERVICES},
            accounts_file=accounts_file,
            orders_database_url=state["databases"]["orders"],
        )

    def missing(self) -> list[str]:
        """Return a sentence for each thing that cannot be measured or prepared here."""
        sentences = []
        if not self.metrics_urls:
            sentences.append(
                "Outbox age and consumer lag are missing: no process's /metrics is named (--metrics users=http://...)."
            )
        if self.admin_password is None:
            sentences.append("Stock was not refilled: no admin's password is given, so orders may be out of stock.")
        return sentences

    @property
    def is_local(self) -> bool:
        """Return whether it is the system of `make run`, on this machine."""
        return self.orders_database_url is not None

    @asynccontextmanager
    async def open_client(self) -> AsyncIterator[Client]:
        """Open a client for the preparation, which repeats requests that are limited. Raises: LocalError."""
        tls = ssl.create_default_context(cafile=self.ca_file)
        async with httpx2.AsyncClient(base_url=self.url, timeout=30, verify=tls) as http:
            try:
                await http.get("/v1/products", params={"limit": "1"})
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                raise LocalError(f"{self.url} cannot be reached: {str(error) or type(error).__name__}") from error
            yield Client(http, timeout_seconds=PREPARATION_TIMEOUT_SECONDS)

    async def signed_in_admin(self, client: Client) -> Account | None:
        """Sign in the admin; None without a password. Raises: RequestFailed."""
        if self.admin_password is None:
            return None
        admin = Account(self.admin_email, self.admin_password)
        await admin.sign_in(client)
        return admin

"""The accounts of the demo: the admin, and a customer for each one in the invoices, signed up and signed in."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from deploy.demo.client import Answer, Client, RequestFailed
from deploy.demo.invoices import Invoice
from deploy.local.credentials import ADMIN_EMAIL
from deploy.local.screen import Advance

LOCALES = {"Germany": "de-DE", "Austria": "de-AT", "Switzerland": "de-CH"}
LOW_CREDIT_EVERY = 10
"""Every tenth customer gets the low credit limit."""


class SignInRefused(RequestFailed):
    """The account does not exist, or has another password."""


@dataclass
class Account:
    """An account that can sign in and send requests."""

    email: str
    password: str
    user_id: str = ""
    token: str = ""
    refresh_token: str = ""

    async def sign_in(self, client: Client) -> None:
        """Get an access token, and the refresh token of its session. Raises: SignInRefused, RequestFailed."""
        answer = await client.send("POST", "/v1/sessions", json={"email": self.email, "password": self.password})
        if answer.status == 401:
            raise SignInRefused(f"{self.email} could not sign in: {answer.code}")
        tokens = _body_of(answer, f"{self.email} could not sign in")
        self.token, self.refresh_token = tokens["access_token"], tokens["refresh_token"]

    async def send(self, client: Client, method: str, path: str, **request: Any) -> Answer:
        """Send a request with the access token; if it needs a newer sign-in, sign in again and repeat the request."""
        answer = await client.send(method, path, token=self.token, **request)
        if answer.code in {"token_expired", "step_up_required"}:
            await self.sign_in(client)
            answer = await client.send(method, path, token=self.token, **request)
        return answer

    async def read_all(self, client: Client, path: str, **filters: str) -> AsyncIterator[dict[str, Any]]:
        """Yield the items of a list, page by page."""
        params: dict[str, str] | None = {"limit": "100", **filters}
        while params is not None:
            page = _body_of(await self.send(client, "GET", path, params=params), f"{self.email} could not read {path}")
            for item in page["items"]:
                yield item
            params = {**params, "cursor": page["next_cursor"]} if page["next_cursor"] else None


async def signed_in_admin(client: Client, *, password: str) -> Account:
    """Sign in as the admin."""
    admin = Account(ADMIN_EMAIL, password)
    await admin.sign_in(client)
    return admin


def customers_of(invoices: Iterable[Invoice]) -> dict[str, str]:
    """Return the customers' countries by customer, in the order of their first invoices."""
    return {invoice.customer: invoice.country for invoice in invoices if invoice.customer}


async def sign_up(
    client: Client,
    customers: Mapping[str, str],
    *,
    admin: Account,
    run: str,
    low_credit_limit_cents: int,
    concurrency: int,
    advance: Advance,
) -> dict[str, Account]:
    """Create and sign in an account per customer; every tenth gets a low credit limit.

    The admin vouches for the addresses: nobody reads the mails with which a sign-up is confirmed.

    `customers`: countries by customer. `run`: part of the mail addresses, so that two runs have different customers.
    """
    password = secrets.token_urlsafe(16)
    accounts = {customer: Account(f"customer-{customer}+{run}@example.com", password) for customer in customers}
    slots = asyncio.Semaphore(concurrency)

    async def sign_up_one(position: int, customer: str) -> None:
        account = accounts[customer]
        async with slots:
            await _make(client, account, admin=admin, customer=customer, country=customers[customer], run=run)
            if position % LOW_CREDIT_EVERY == 0:
                await set_credit_limit(client, account, limit_cents=low_credit_limit_cents, admin=admin)
            await account.sign_in(client)
        advance()

    async with asyncio.TaskGroup() as group:
        for position, customer in enumerate(accounts, start=1):
            group.create_task(sign_up_one(position, customer))
    return accounts


async def set_credit_limit(client: Client, account: Account, *, limit_cents: int, admin: Account) -> None:
    """Set the credit limit of an account. Raises: RequestFailed."""
    path, limit = f"/v1/users/{account.user_id}/credit-limit", {"limit_cents": limit_cents}
    _body_of(await admin.send(client, "PUT", path, json=limit), "the admin could not set a credit limit")


async def _make(client: Client, account: Account, *, admin: Account, customer: str, country: str, run: str) -> None:
    body = {
        "email": account.email,
        "password": account.password,
        "name": f"Customer {customer}",
        "locale": LOCALES.get(country, "en"),
    }
    answer = await admin.send(client, "POST", "/v1/users/verified", json=body, key=f"{run}-{customer}")
    account.user_id = _body_of(answer, f"the admin could not create {account.email}")["id"]


def _body_of(answer: Answer, failure: str) -> dict[str, Any]:
    if not answer.is_success:
        raise RequestFailed(f"{failure}: {answer.status} {answer.code}")
    return answer.body

"""The people of the demo: the admin, and the customers of the data, signed up and signed in."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from deploy.demo.client import Answer, Client, Unanswered
from deploy.demo.data import Invoice
from deploy.demo.progress import Advance
from deploy.local.credentials import ADMIN_EMAIL

LOCALES = {"Germany": "de-DE", "Austria": "de-AT", "Switzerland": "de-CH"}
LITTLE_CREDIT_EVERY = 10


@dataclass
class Account:
    """Somebody who can sign in."""

    email: str
    password: str
    user_id: str = ""
    token: str = ""

    async def sign_in(self, client: Client) -> None:
        """Get a token."""
        answer = await client.send("POST", "/v1/sessions", json={"email": self.email, "password": self.password})
        self.token = _body_of(answer, f"{self.email} signs in")["access_token"]

    async def send(self, client: Client, method: str, path: str, **request: Any) -> Answer:
        """A request of this person, who signs in again when the token has grown old."""
        answer = await client.send(method, path, token=self.token, **request)
        if answer.code == "token_expired":
            await self.sign_in(client)
            answer = await client.send(method, path, token=self.token, **request)
        return answer

    async def read_all(self, client: Client, path: str, **filters: str) -> AsyncIterator[dict[str, Any]]:
        """The items of a list, page after page."""
        params: dict[str, str] | None = {"limit": "100", **filters}
        while params is not None:
            page = _body_of(await self.send(client, "GET", path, params=params), f"{self.email} reads {path}")
            for item in page["items"]:
                yield item
            params = {**params, "cursor": page["next_cursor"]} if page["next_cursor"] else None


async def signed_in_admin(client: Client, *, password: str) -> Account:
    """Whoever may do everything."""
    admin = Account(ADMIN_EMAIL, password)
    await admin.sign_in(client)
    return admin


def customers_of(invoices: Iterable[Invoice]) -> dict[str, str]:
    """Customers with their countries, in the order of their first invoices."""
    return {invoice.customer: invoice.country for invoice in invoices if invoice.customer}


async def sign_up(
    client: Client,
    customers: Mapping[str, str],
    *,
    admin: Account,
    run: str,
    little_credit_cents: int,
    concurrency: int,
    advance: Advance,
) -> dict[str, Account]:
    """Make an account for each, and sign it in; every tenth gets little credit. `run` tells two runs' people apart."""
    password = secrets.token_urlsafe(16)
    accounts = {customer: Account(f"customer-{customer}+{run}@example.com", password) for customer in customers}
    free = asyncio.Semaphore(concurrency)

    async def one(position: int, customer: str) -> None:
        account = accounts[customer]
        async with free:
            await _make(client, account, customer=customer, country=customers[customer], run=run)
            if position % LITTLE_CREDIT_EVERY == 0:
                path = f"/v1/users/{account.user_id}/credit-limit"
                limit = {"limit_cents": little_credit_cents}
                _body_of(await admin.send(client, "PUT", path, json=limit), "the admin sets a credit limit")
            await account.sign_in(client)
        advance()

    async with asyncio.TaskGroup() as group:
        for position, customer in enumerate(accounts, start=1):
            group.create_task(one(position, customer))
    return accounts


async def _make(client: Client, account: Account, *, customer: str, country: str, run: str) -> None:
    body = {
        "email": account.email,
        "password": account.password,
        "name": f"Customer {customer}",
        "locale": LOCALES.get(country, "en"),
    }
    answer = await client.send("POST", "/v1/users", json=body, key=f"{run}-{customer}")
    account.user_id = _body_of(answer, f"{account.email} signs up")["id"]


def _body_of(answer: Answer, what: str) -> dict[str, Any]:
    if not answer.is_success:
        raise Unanswered(f"{what}: {answer.status} {answer.code}")
    return answer.body

"""The steps of one customer, as greenlets under gevent: search, look at products, order, await the decision, cancel."""

import json
import random
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count, cycle, islice
from typing import Any
from urllib.parse import quote

import gevent
from locust.contrib.fasthttp import FastHttpSession

from deploy.load import routes
from deploy.load.plan import Journey, Login, Plan
from deploy.load.recorder import Recorder
from deploy.load.second import Decision

PRODUCTS_LOOKED_AT = 2
"""Products of a basket whose pages a customer opens."""
MAX_READ_DELAY_SECONDS = 5.0
"""Longest delay between two looks at an order that is pending; the first is a tenth of it, and each doubles."""
REFRESH_AFTER_SECONDS = (300.0, 600.0)
"""Bounds of a token's age at which it is refreshed. Random, so that not all accounts refresh at once."""
REQUEST_BODY = {"Content-Type": "application/json"}


@dataclass
class Account:
    """A signed-in account, and its confirmed orders that may still be cancelled."""

    login: Login
    token: str
    refresh_token: str
    refresh_at: float
    is_refreshing: bool = False
    confirmed: list[str] = field(default_factory=list)


@dataclass
class Shop:
    """The accounts, baskets and pace of a run. `is_ending`: customers stop thinking and finish."""

    plan: Plan
    recorder: Recorder
    is_ending: bool = False

    def __post_init__(self) -> None:
        self.rng = random.Random(self.plan.seed)  # noqa: S311 - reproducible by its seed
        self._numbers = count()
        self.watching = 0
        now = time.monotonic()
        self.accounts = [
            Account(each, each.token, each.refresh_token, now + self.rng.uniform(*REFRESH_AFTER_SECONDS))
            for each in self.plan.logins
        ]
        self._journeys: Iterator[Journey] = cycle(self.plan.journeys)

    def journey(self, client: FastHttpSession) -> None:
        """Act as one customer, from the first page to the order."""
        self.recorder.in_flight += 1
        try:
            account, journey = self.rng.choice(self.accounts), next(self._journeys)
            self._keep_signed_in(client, account)
            if journey.items:
                self._order(client, account, journey)
            else:
                self._cancel(client, account)
        finally:
            self.recorder.in_flight -= 1

    def think(self) -> None:
        """Wait as long as a person does, half to one and a half times the mean."""
        if not self.is_ending and self.plan.think_seconds:
            gevent.sleep(self.plan.think_seconds * self.rng.uniform(0.5, 1.5))

    def _order(self, client: FastHttpSession, account: Account, journey: Journey) -> None:
        if journey.search:
            self._send(client, account, routes.SEARCH_PRODUCTS, query=f"?limit=20&search={quote(journey.search)}")
            self.think()
        for sku in islice(journey.items, PRODUCTS_LOOKED_AT):
            self._send(client, account, routes.READ_PRODUCT, sku=sku)
            self.think()
        body = {"items": [{"sku": sku, "quantity": quantity} for sku, quantity in journey.items.items()]}
        sent_at = time.time()
        response = self._send(client, account, routes.PLACE_ORDER, body=body, is_keyed=True)
        answered_at = time.time()
        if response.status_code == 201:
            self.recorder.second.placed += 1
            self.watching += 1
            gevent.spawn(self._watch, client, account, json.loads(response.text)["id"], sent_at, answered_at)

    def _watch(
        self, client: FastHttpSession, account: Account, order_id: str, sent_at: float, answered_at: float
    ) -> None:
        """Look at an order until it is decided."""
        delay = MAX_READ_DELAY_SECONDS / 10
        try:
            while True:
                gevent.sleep(delay)
                delay = min(2 * delay, MAX_READ_DELAY_SECONDS)
                response = self._send(client, account, routes.READ_ORDER, id=order_id)
                if response.status_code != 200:
                    continue
                order = json.loads(response.text)
                if order["status"] != "pending":
                    break
            self.recorder.second.decisions.append(_decision(order, sent_at, answered_at))
            if order["status"] == "confirmed":
                account.confirmed.append(order_id)
                self._send(client, account, routes.LIST_NOTIFICATIONS, query="?limit=20")
        finally:
            self.watching -= 1

    def _cancel(self, client: FastHttpSession, account: Account) -> None:
        self._send(client, account, routes.LIST_ORDERS, query="?limit=20")
        self.think()
        if account.confirmed:
            order_id = account.confirmed.pop()
            self._send(client, account, routes.CANCEL_ORDER, id=order_id, is_keyed=True)

    def _keep_signed_in(self, client: FastHttpSession, account: Account) -> None:
        """Refresh the account's tokens in time, once; after a restore or a revocation, sign in again."""
        if account.is_refreshing or time.monotonic() < account.refresh_at:
            return
        account.is_refreshing = True
        try:
            answer = self._send(client, None, routes.REFRESH, body={"refresh_token": account.refresh_token})
            if answer.status_code == 401:
                credentials = {"email": account.login.email, "password": account.login.password}
                answer = self._send(client, None, routes.SIGN_IN, body=credentials)
            if answer.status_code in {200, 201}:
                tokens = json.loads(answer.text)
                account.token, account.refresh_token = tokens["access_token"], tokens["refresh_token"]
                account.refresh_at = time.monotonic() + self.rng.uniform(*REFRESH_AFTER_SECONDS)
        finally:
            account.is_refreshing = False

    def _send(
        self,
        client: FastHttpSession,
        account: Account | None,
        route: str,
        *,
        query: str = "",
        body: Mapping[str, Any] | None = None,
        is_keyed: bool = False,
        **parts: str,
    ) -> Any:
        """Send a request of a route once, as the root of a trace, and return the response; status 0 without one."""
        method, _, path = route.partition(" ")
        trace_id = secrets.token_hex(16)
        headers = {"traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-01"}
        if account is not None:
            headers["Authorization"] = f"Bearer {account.token}"
        if is_keyed:
            headers["Idempotency-Key"] = f"{self.plan.key_prefix}-{next(self._numbers)}"
        if body is not None:
            headers |= REQUEST_BODY
        response = client.request(
            method,
            path.format(**parts) + query,
            name=path,
            headers=headers,
            data=None if body is None else json.dumps(body),
            allow_redirects=False,
            context={"trace_id": trace_id},
        )
        if account is not None and response.status_code == 401:
            account.refresh_at = 0
        return response


def _decision(order: Mapping[str, Any], sent_at: float, answered_at: float) -> Decision:
    """Return how and when the order was decided: by the second entry of its timeline, since the first places it."""
    first, decided = order["timeline"][:2]
    return Decision(decided["status"], sent_at, answered_at, _unix(first["at"]), _unix(decided["at"]))


def _unix(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()

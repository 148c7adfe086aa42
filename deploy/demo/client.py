"""HTTP through the gateway, by a client that takes no trouble for an answer: it asks again with the same key."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2

INITIAL_RETRY_DELAY_SECONDS = 0.2
MAX_RETRY_DELAY_SECONDS = 2.0
# What says nothing of the request itself: the gateway's word for a service that is away, and "not now".
TRANSIENT_STATUSES = frozenset({429, 502, 503, 504})
# The first try may still be running in the service when its connection has broken already.
TRANSIENT_CODES = frozenset({"idempotency_key_in_use"})


@dataclass(frozen=True)
class Answer:
    """Status and JSON body; `code` is that of a problem."""

    status: int
    body: dict[str, Any]

    @property
    def is_success(self) -> bool:
        return self.status < 400

    @property
    def code(self) -> str:
        return str(self.body.get("code") or f"status_{self.status}")


class Unanswered(Exception):
    """No answer that counts, however often it was asked."""


class Client:
    """Repeats a request until it has an answer that is about the request. `retries` counts why it had to."""

    def __init__(self, http: httpx2.AsyncClient, *, timeout_seconds: float = 60) -> None:
        """`timeout_seconds`: how long one request may go without such an answer."""
        self._http = http
        self._timeout_seconds = timeout_seconds
        self.retries = Counter[str]()

    async def send(
        self,
        method: str,
        path: str,
        *,
        json: Mapping[str, object] | None = None,
        params: Mapping[str, str] | None = None,
        token: str | None = None,
        key: str | None = None,
    ) -> Answer:
        """`key`: the Idempotency-Key, without which a repeated POST may have its effect twice. Raises: Unanswered."""
        headers = {}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        if key is not None:
            headers["Idempotency-Key"] = key
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout_seconds
        retry_delay = INITIAL_RETRY_DELAY_SECONDS
        while True:
            try:
                response = await self._http.request(method, path, json=json, params=params, headers=headers)
            except httpx2.TransportError as error:
                reason = type(error).__name__
            else:
                answer = _answer_of(response)
                if response.status_code not in TRANSIENT_STATUSES and answer.code not in TRANSIENT_CODES:
                    return answer
                reason = f"{answer.status} {answer.code}"
                retry_delay = max(retry_delay, float(response.headers.get("Retry-After", "0")))
            if loop.time() + retry_delay > deadline:
                raise Unanswered(f"{method} {path}: {reason}, for {self._timeout_seconds:.0f} s")
            self.retries[reason] += 1
            await asyncio.sleep(retry_delay)
            retry_delay = min(2 * retry_delay, MAX_RETRY_DELAY_SECONDS)


@asynccontextmanager
async def open_client(gateway_url: str) -> AsyncIterator[Client]:
    """How many requests are open at once is the caller's to bound."""
    async with httpx2.AsyncClient(base_url=gateway_url, timeout=30) as http:
        yield Client(http)


def _answer_of(response: httpx2.Response) -> Answer:
    if "json" not in response.headers.get("Content-Type", ""):
        return Answer(response.status_code, {})
    body = response.json()
    return Answer(response.status_code, body if isinstance(body, dict) else {})

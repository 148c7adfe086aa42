"""The demo's HTTP client: it repeats a request, with the same Idempotency-Key, until it gets a final answer."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2

INITIAL_RETRY_DELAY_SECONDS = 0.2
MAX_RETRY_DELAY_SECONDS = 2.0
# These say nothing about the request itself: a service is unavailable, or wants the request later.
TRANSIENT_STATUSES = frozenset({429, 502, 503, 504})
# After a broken connection, the service may still be at work on the first try.
TRANSIENT_CODES = frozenset({"idempotency_key_in_use"})


@dataclass(frozen=True)
class Answer:
    """The status and the JSON body of a response."""

    status: int
    body: dict[str, Any]

    @property
    def is_success(self) -> bool:
        return self.status < 400

    @property
    def code(self) -> str:
        """The code of a problem; `status_...` if the body has none."""
        return str(self.body.get("code") or f"status_{self.status}")


class RequestFailed(Exception):
    """A request had no final answer in time, or failed where the demo cannot go on."""


class Client:
    """Repeats a request after a transport error or a transient answer. `retries` counts the reasons."""

    def __init__(self, http: httpx2.AsyncClient, *, timeout_seconds: float = 60) -> None:
        """Give up a request after `timeout_seconds`, retries included."""
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
        if_match: str | None = None,
    ) -> Answer:
        """Return the final answer. Raises: RequestFailed.

        `key`: the Idempotency-Key. Without one, a repeated POST may take effect twice. `if_match`: the ETag that a
        change expects, or * for any.
        """
        headers = {}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        if key is not None:
            headers["Idempotency-Key"] = key
        if if_match is not None:
            headers["If-Match"] = if_match
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
                raise RequestFailed(
                    f"{method} {path} failed for {self._timeout_seconds:g} s, the last time with: {reason}"
                )
            self.retries[reason] += 1
            await asyncio.sleep(retry_delay)
            retry_delay = min(2 * retry_delay, MAX_RETRY_DELAY_SECONDS)


@asynccontextmanager
async def open_client(gateway_url: str) -> AsyncIterator[Client]:
    """Open a client of the gateway. The caller limits how many requests are open at once."""
    async with httpx2.AsyncClient(base_url=gateway_url, timeout=30) as http:
        yield Client(http)


def _answer_of(response: httpx2.Response) -> Answer:
    if "json" not in response.headers.get("Content-Type", ""):
        return Answer(response.status_code, {})
    body = response.json()
    return Answer(response.status_code, body if isinstance(body, dict) else {})

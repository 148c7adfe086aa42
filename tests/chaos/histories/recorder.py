"""Records each HTTP request of a campaign, in the transport of its clients, so that no repetition is missed."""

import hashlib
import json
import re
import time
from base64 import urlsafe_b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx2

from tests.chaos.histories.history import Answer, Request

SENT_MEMBERS = ("sku", "name", "price_cents", "stock", "limit_cents", "amount_cents", "items")
RECEIVED_MEMBERS = (
    "id",
    "number",
    "user_id",
    "status",
    "name",
    "price_cents",
    "stock",
    "available",
    "total_cents",
    "refunded_cents",
    "limit_cents",
    "reserved_cents",
    "used_cents",
)
"""The members of bodies that a history keeps: neither passwords nor tokens."""
MAX_ITEMS = 5
"""Lines of an order that a history keeps."""

_ENTITY_TAG = re.compile(r'"(\d+)(?:-[0-9a-f]+)?"')


@dataclass
class Recorder:
    """The requests of one campaign, in the order in which they ended."""

    requests: list[Request] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    began_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    _numbers: int = 0

    def now(self) -> float:
        """Return the seconds since the campaign began."""
        return time.monotonic() - self.began

    def client(self, session: str, *, base_url: str = "", timeout_seconds: float = 30) -> httpx2.AsyncClient:
        """Return an HTTP client with connections of its own, whose requests are recorded under the session's name."""
        return httpx2.AsyncClient(
            base_url=base_url, timeout=timeout_seconds, transport=RecordingTransport(self, session)
        )

    def next_number(self) -> int:
        """Return the number of a request that begins now."""
        self._numbers += 1
        return self._numbers


class RecordingTransport(httpx2.AsyncBaseTransport):
    """Sends requests, reads their answers to the end, and records both."""

    def __init__(self, recorder: Recorder, session: str, transport: httpx2.AsyncBaseTransport | None = None) -> None:
        """Send with `transport`, by default over HTTP."""
        self._recorder = recorder
        self._session = session
        self._transport = transport or httpx2.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send the request. Raises: httpx2.TransportError."""
        number, started, sent_at = self._recorder.next_number(), self._recorder.now(), datetime.now(UTC)
        answer: Answer | None = None
        error = ""
        try:
            response = await self._transport.handle_async_request(request)
            await response.aread()
            answer = answer_of(response)
        except BaseException as failure:
            error = type(failure).__name__
            raise
        finally:
            self._recorder.requests.append(
                Request(
                    number=number,
                    session=self._session,
                    caller=_caller_of(request.headers.get("Authorization", "")),
                    method=request.method,
                    path=request.url.path,
                    started=started,
                    ended=self._recorder.now(),
                    sent_at=sent_at,
                    sent=_essentials(_json(request.content), SENT_MEMBERS),
                    key=request.headers.get("Idempotency-Key"),
                    if_match=_version_of(request.headers.get("If-Match", "")),
                    answer=answer,
                    error=error,
                )
            )
        return response

    async def aclose(self) -> None:
        """Close the connections."""
        await self._transport.aclose()


def answer_of(response: httpx2.Response) -> Answer:
    """Return the part of a response that a history keeps. Its body has been read."""
    body = _json(response.content)
    is_problem = response.status_code >= 400
    return Answer(
        status=response.status_code,
        code=str(body.get("code") or f"status_{response.status_code}") if is_problem else "",
        version=_version_of(response.headers.get("ETag", "")),
        body={} if is_problem else _essentials(body, RECEIVED_MEMBERS),
        digest=hashlib.sha256(response.content).hexdigest()[:16],
        is_replayed="Idempotency-Replayed" in response.headers,
    )


def _essentials(body: Mapping[str, Any], members: Sequence[str]) -> dict[str, Any]:
    essentials = {name: body[name] for name in members if name in body}
    items = essentials.get("items")
    if isinstance(items, list):
        shown = [f"{item.get('quantity')} x {item.get('sku')}" for item in items[:MAX_ITEMS] if isinstance(item, dict)]
        essentials["items"] = ", ".join(shown) + (f", {len(items)} in all" if len(items) > MAX_ITEMS else "")
    elif "next_cursor" in body and isinstance(page := body.get("items"), list):
        essentials["ids"] = [str(item["id"]) for item in page if "id" in item]
        essentials["is_complete"] = body["next_cursor"] is None
    return essentials


def _json(content: bytes) -> Mapping[str, Any]:
    try:
        body = json.loads(content) if content else {}
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _version_of(entity_tag: str) -> int | None:
    match = _ENTITY_TAG.fullmatch(entity_tag.strip())
    return int(match[1]) if match else None


def _caller_of(authorization: str) -> str:
    """Return the subject of an access token, which is not verified: the service does that."""
    parts = authorization.removeprefix("Bearer ").split(".")
    if len(parts) != 3:
        return ""
    claims = _json(urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    return str(claims.get("sub", ""))

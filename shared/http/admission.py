"""Admission of requests: a bounded number is processed at once, a few more wait briefly, and the others get a 503.

Without a bound, an overloaded process accepts every request, each response takes longer than its client waits, and the
work is wasted. Refusing a request costs a tenth of processing it, so the admitted ones keep their throughput and
latency.
"""

import asyncio
import time
from collections import Counter
from typing import Literal

import structlog
from prometheus_client import Counter as Metric
from prometheus_client import Gauge
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.connection_pool import request_share
from shared.http.problems import Overloaded, problem_response

logger = structlog.get_logger(__name__)

ShedReason = Literal["queue_full", "waited_too_long", "no_connection"]

ALWAYS_ADMITTED = ("/health", "/metrics", "/.well-known/", "/internal/")
"""Paths that are never refused: probes, scrapes, and what other services ask. A 503 to one of them would make an
overload worse. Of these paths, the gateway exposes only the published keys."""
MAX_WAIT_SECONDS = 0.5
"""Upper bound of a request's wait for a place. Raised, longer bursts pass without errors, and more slowly."""
BUSY_SECONDS = 1.0
"""Time after a 503 in which no further request may wait for a place: more arrive than can be processed, so waiting
would save none of them and slow down every response. Raised, bursts in quick succession are refused."""
LOG_INTERVAL_SECONDS = 1.0
"""Refused requests are logged together, at most once in this time: a line for each would cost more than refusing it."""
SHED = "shed"
"""The key in a request's state that says it was refused, and the label of its route in metrics."""

SHED_REQUESTS = Metric(
    "http_requests_shed", "Requests that were refused with 503 because the process is overloaded", ["reason"]
)
IN_PROGRESS = Gauge("http_requests_in_progress", "Requests that are being processed")
WAITING = Gauge("http_requests_waiting", "Requests that wait for admission")


class Shed(Exception):
    """The request is not admitted."""

    def __init__(self, reason: ShedReason) -> None:
        super().__init__(reason)
        self.reason: ShedReason = reason


class Admission:
    """The places of one process. A place that becomes free goes to the request that has waited longest."""

    def __init__(self, *, max_in_progress: int, max_waiting: int, max_wait_seconds: float = MAX_WAIT_SECONDS) -> None:
        self._places = asyncio.Semaphore(max_in_progress)
        self._max_waiting = max_waiting
        self._max_wait_seconds = max_wait_seconds
        self._in_progress = 0
        self._waiting = 0
        self._refused_at = -BUSY_SECONDS
        IN_PROGRESS.set_function(lambda: self._in_progress)
        WAITING.set_function(lambda: self._waiting)

    def refuses(self, path: str) -> bool:
        """Return whether a request would be refused at once."""
        if not self._places.locked() or path.startswith(ALWAYS_ADMITTED):
            return False
        is_busy = time.monotonic() - self._refused_at < BUSY_SECONDS
        return is_busy or self._waiting >= self._max_waiting

    async def enter(self) -> None:
        """Take a place; call `leave` once afterwards. Raises: Shed."""
        if self.refuses(""):
            raise Shed("queue_full")
        if self._places.locked():
            await self._wait()
        else:
            await self._places.acquire()
        self._in_progress += 1

    def note_overload(self, scope: Scope, reason: ShedReason) -> None:
        """Count and log a request that is refused because of overload."""
        self._refused_at = time.monotonic()
        note_shed(scope, reason)

    def leave(self) -> None:
        """Give the place to the next request."""
        self._in_progress -= 1
        self._places.release()

    async def _wait(self) -> None:
        self._waiting += 1
        try:
            async with asyncio.timeout(self._max_wait_seconds):
                await self._places.acquire()
        except TimeoutError:
            raise Shed("waited_too_long") from None
        finally:
            self._waiting -= 1


class AdmissionMiddleware:
    """Processes the admitted requests, and responds to the others with `overloaded`.

    A request has a place from when its body has been received, so that slow senders take none, until its response is
    complete or has become a stream.
    """

    def __init__(self, app: ASGIApp, *, admission: Admission) -> None:
        self.app = app
        self._admission = admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(ALWAYS_ADMITTED):
            await self.app(scope, receive, send)
            return
        body = await _received(receive)
        try:
            await self._admission.enter()
        except Shed as shed:
            self._admission.note_overload(scope, shed.reason)
            await problem_response(Overloaded(), scope=scope)(scope, receive, send)
            return
        await self._process(scope, _Replayed(body, receive), send)

    async def _process(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_place = True

        def leave() -> None:
            nonlocal has_place
            if has_place:
                has_place = False
                self._admission.leave()

        async def watched_send(message: Message) -> None:
            if message["type"] == "http.response.body" and message.get("more_body", False):
                leave()
            await send(message)

        try:
            with request_share():
                await self.app(scope, receive, watched_send)
        finally:
            leave()


class _Replayed:
    """Receives the messages that were received already, then those that follow."""

    def __init__(self, messages: list[Message], receive: Receive) -> None:
        self._messages = iter(messages)
        self._receive = receive

    async def __call__(self) -> Message:
        return next(self._messages, None) or await self._receive()


async def _received(receive: Receive) -> list[Message]:
    """Return the messages of the body. BodyLimitMiddleware limits its size."""
    messages = [await receive()]
    while messages[-1]["type"] == "http.request" and messages[-1].get("more_body", False):
        messages.append(await receive())
    return messages


class _ShedLog:
    """Logs how many requests were refused, at most once in LOG_INTERVAL_SECONDS."""

    def __init__(self) -> None:
        self._counted: Counter[ShedReason] = Counter()

    def add(self, reason: ShedReason) -> None:
        if not self._counted:
            asyncio.get_running_loop().call_later(LOG_INTERVAL_SECONDS, self._write)
        self._counted[reason] += 1

    def _write(self) -> None:
        logger.warning("requests_shed", requests={str(reason): count for reason, count in self._counted.items()})
        self._counted.clear()


_log = _ShedLog()


def note_shed(scope: Scope, reason: ShedReason) -> None:
    """Count a request that is refused because of overload."""
    scope["state"][SHED] = True
    SHED_REQUESTS.labels(reason).inc()
    _log.add(reason)

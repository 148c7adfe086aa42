"""The outermost layer of every request: its id and trace, log line, metrics, and the response to unexpected errors."""

import re
import time
from contextlib import AbstractContextManager
from typing import Any

import structlog
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bind_contextvars, clear_contextvars

from shared.connection_pool import NoFreeConnection
from shared.database import watching_commits
from shared.error_descriptions import describe_error
from shared.errors import Problem
from shared.http.admission import SHED, Admission, note_shed
from shared.http.metrics import count_request
from shared.http.problems import DatabaseUnavailable, InternalError, Overloaded, problem_response
from shared.ids import new_id
from shared.telemetry import entry_span, fail, unrecorded_trace
from shared.transient_errors import asks_to_repeat, is_database_unavailable

logger = structlog.get_logger(__name__)

MAX_ATTEMPTS = 3
"""Attempts of a request that a schema change or a deadlock has interrupted: the second one may meet another."""
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,128}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})
"""The methods that name spans. A client may send any word; others become `_OTHER`."""
_RESPONSE_HEADERS = "response_headers"
_NO_RESPONSE = 499  # the status that is logged if the client disconnected before a response was sent


def add_response_header(request: Request, name: str, value: str) -> None:
    """Add a header to the response, whichever it will be, problems included. A repeated name adds another value."""
    getattr(request.state, _RESPONSE_HEADERS).append((name, value))


class RequestContextMiddleware:
    """Gives every request an id and a trace, logs and counts it, and responds to unexpected errors with a problem.

    It refuses what `admission` would refuse, before anything else is done for the request: that has to be cheap.
    """

    def __init__(self, app: ASGIApp, *, admission: Admission | None = None) -> None:
        self.app = app
        self._admission = admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else new_id().hex
        scope.setdefault("state", {})
        # On a kept-alive connection the server may run a request in the context of the previous one.
        clear_contextvars()
        bind_contextvars(request_id=request_id)
        if self._admission is not None and self._admission.refuses(scope["path"]):
            self._admission.note_overload(scope, "queue_full")
            await _Exchange(self.app, scope, receive, send, request_id=request_id, server_span=INVALID_SPAN).refuse()
            return
        with _entered(scope, headers) as server_span:
            exchange = _Exchange(self.app, scope, receive, send, request_id=request_id, server_span=server_span)
            await exchange.run()


def _entered(scope: Scope, headers: Headers) -> AbstractContextManager[Span]:
    """Enter the caller's trace, with a span unless it is a probe or a scrape: those arrive every few seconds."""
    if _is_probe(scope["path"]):
        return unrecorded_trace()
    traceparent, tracestate = headers.get("traceparent"), headers.get("tracestate")
    return entry_span(_known_method(scope), kind=SpanKind.SERVER, traceparent=traceparent, tracestate=tracestate)


class _Repeatable:
    """A request's messages, kept so that they can be received again. BodyLimitMiddleware limits their size."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._messages: list[Message] = []
        self._position = 0

    async def __call__(self) -> Message:
        if self._position == len(self._messages):
            self._messages.append(await self._receive())
        self._position += 1
        return self._messages[self._position - 1]

    def rewind(self) -> None:
        """Begin with the first message again."""
        self._position = 0


class _Exchange:
    """One request and its response."""

    def __init__(
        self, app: ASGIApp, scope: Scope, receive: Receive, send: Send, *, request_id: str, server_span: Span
    ) -> None:
        self._app = app
        self._scope = scope
        self._receive = receive
        self._send = send
        self._request_id = request_id
        self._span = server_span
        self._status: int | None = None

    async def refuse(self) -> None:
        """Respond that the process is overloaded."""
        self._scope["state"][_RESPONSE_HEADERS] = []
        await problem_response(Overloaded(), scope=self._scope)(self._scope, self._receive, self._send_with_headers)
        self._record(0.0)

    async def run(self) -> None:
        started_at = time.perf_counter()
        try:
            await self._run_application()
        except Exception as error:
            problem = self._problem_of(error)
            if self._status is not None:
                raise  # the response has started: only closing the connection can tell the client
            await problem_response(problem, scope=self._scope)(self._scope, self._receive, self._send_with_headers)
        finally:
            self._record(time.perf_counter() - started_at)

    async def _run_application(self) -> None:
        """Run the application. Run it again if its transaction met a deadlock, or a schema change.

        The failed transaction has changed nothing. If an earlier one has committed, only the client can decide.
        """
        request, receive = self._scope, _Repeatable(self._receive)
        for attempt in range(1, MAX_ATTEMPTS + 1):
            self._scope = {**request, "state": {**request["state"], _RESPONSE_HEADERS: []}}
            try:
                with watching_commits() as watch:
                    await self._app(self._scope, receive, self._send_with_headers)
            except Exception as error:
                is_final = attempt == MAX_ATTEMPTS or self._status is not None or watch.has_committed
                if is_final or not asks_to_repeat(error):
                    raise
                logger.warning("request_repeated", attempt=attempt, error=describe_error(error))
                self._span.add_event("repeated", {"orderly.attempt": attempt, "error": describe_error(error)})
                receive.rewind()
            else:
                return

    def _problem_of(self, error: Exception) -> Problem:
        """Log an unexpected error and return the problem that the client gets."""
        if isinstance(error, NoFreeConnection):
            note_shed(self._scope, "no_connection")
            return Overloaded()
        fail(self._span, error)
        where = {"method": self._scope["method"], "route": route_template(self._scope)}
        if is_database_unavailable(error):
            # An outage causes this for every request, and the code is not to blame: log one line, no traceback.
            logger.warning("database_unavailable", **where, error=describe_error(error))
            return DatabaseUnavailable()
        logger.exception("request_failed", **where)
        return InternalError()

    async def _send_with_headers(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in self._scope["state"][_RESPONSE_HEADERS]:
                headers.append(name, value)
            headers["x-request-id"] = self._request_id
        await self._send(message)

    def _record(self, duration_seconds: float) -> None:
        method, route = self._scope["method"], route_template(self._scope)
        status = self._status or _NO_RESPONSE
        count_request(method, route=route, status=status, duration_seconds=duration_seconds)
        if self._span.is_recording():
            self._describe_span(method=_known_method(self._scope), route=route)
        # Successful probes are not worth a log line, and refused requests are logged together.
        record = logger.debug if (_is_probe(route) and status < 400) or route == SHED else logger.info
        record(
            "request_finished", method=method, route=route, status=status, duration_ms=round(duration_seconds * 1000, 1)
        )

    def _describe_span(self, *, method: str, route: str) -> None:
        """Name the span after its route, and describe the response. The path itself may hold a one-time token."""
        self._span.update_name(f"{method} {route}")
        self._span.set_attributes(
            {
                "http.request.method": method,
                "http.route": route,
                "url.scheme": self._scope["scheme"],
                "network.protocol.version": self._scope["http_version"],
                "orderly.request_id": self._request_id,
            }
        )
        if self._status is None:
            fail(self._span, "client_disconnected")
            return
        self._span.set_attribute("http.response.status_code", self._status)
        if self._status >= 500 and "error.type" not in (getattr(self._span, "attributes", None) or {}):
            fail(self._span, str(self._status))


def _is_probe(path: str) -> bool:
    return path == "/metrics" or path.startswith("/health")


def _known_method(scope: Scope) -> str:
    return scope["method"] if scope["method"] in _METHODS else "_OTHER"


def route_template(scope: Scope) -> str:
    """Return the path template, such as `/v1/orders/{order_id}`. Paths hold ids: each would be a time series."""
    if scope["state"].get(SHED):
        return SHED
    # A route of an included router does not know its prefix; FastAPI's effective route context does.
    matched: Any = scope.get("fastapi", {}).get("effective_route_context") or scope.get("route")
    return getattr(matched, "path_format", None) or "unmatched"

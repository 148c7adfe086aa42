"""W3C trace context, carried from request to event to job, without a tracing SDK."""

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from structlog.contextvars import bound_contextvars

_TRACEPARENT = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})(?P<rest>-.*)?"
)
_TRACESTATE_MAX = 512


@dataclass(frozen=True, slots=True)
class TraceContext:
    trace_id: str
    span_id: str
    flags: str
    tracestate: str | None = None

    @property
    def traceparent(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"

    def child(self) -> "TraceContext":
        return TraceContext(self.trace_id, secrets.token_hex(8), self.flags, self.tracestate)


_current: ContextVar[TraceContext | None] = ContextVar("trace_context", default=None)


def parse_traceparent(traceparent: str, *, tracestate: str | None = None) -> TraceContext | None:
    """Parse a traceparent; None if it is malformed, so that a new trace begins."""
    match = _TRACEPARENT.fullmatch(traceparent.strip())
    if match is None or match["version"] == "ff" or (match["version"] == "00" and match["rest"]):
        return None
    if not int(match["trace"], 16) or not int(match["span"], 16):
        return None
    kept = tracestate if tracestate and len(tracestate) <= _TRACESTATE_MAX else None
    # The flags "sampled" and "random" mean the same in every version.
    return TraceContext(match["trace"], match["span"], f"{int(match['flags'], 16) & 3:02x}", kept)


def new_trace() -> TraceContext:
    return TraceContext(secrets.token_hex(16), secrets.token_hex(8), "01")


def current_traceparent() -> str | None:
    current = _current.get()
    return current.traceparent if current else None


def current_tracestate() -> str | None:
    current = _current.get()
    return current.tracestate if current else None


@contextmanager
def continued_trace(traceparent: str | None, *, tracestate: str | None = None) -> Iterator[TraceContext]:
    """Run the block as a child of the given context, or in a new trace; its logs have the `trace_id`."""
    parent = parse_traceparent(traceparent, tracestate=tracestate) if traceparent else None
    context = parent.child() if parent else new_trace()
    token = _current.set(context)
    try:
        with bound_contextvars(trace_id=context.trace_id):
            yield context
    finally:
        _current.reset(token)

"""W3C trace context, propagated from request to event to job and delivery. It needs no tracing SDK."""

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from structlog.contextvars import bind_contextvars, reset_contextvars

_TRACEPARENT = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})(?P<rest>-.*)?"
)
_MAX_TRACESTATE_LENGTH = 512


@dataclass(frozen=True, slots=True)
class TraceContext:
    """The trace and the span that the current work belongs to."""

    trace_id: str
    span_id: str
    flags: str
    tracestate: str | None = None

    @property
    def traceparent(self) -> str:
        """The value of the traceparent header."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"

    def child(self) -> "TraceContext":
        """Return a new span of the same trace."""
        return TraceContext(self.trace_id, secrets.token_hex(8), self.flags, self.tracestate)


_current: ContextVar[TraceContext | None] = ContextVar("trace_context", default=None)


def parse_traceparent(traceparent: str, *, tracestate: str | None = None) -> TraceContext | None:
    """Parse a traceparent; return None if it is malformed, so that the caller begins a new trace."""
    match = _TRACEPARENT.fullmatch(traceparent.strip())
    if match is None or match["version"] == "ff" or (match["version"] == "00" and match["rest"]):
        return None
    if not int(match["trace"], 16) or not int(match["span"], 16):
        return None
    kept = tracestate if tracestate and len(tracestate) <= _MAX_TRACESTATE_LENGTH else None
    # Keep the two flags whose meaning is the same in every version: "sampled" and "random".
    return TraceContext(match["trace"], match["span"], f"{int(match['flags'], 16) & 3:02x}", kept)


def new_trace() -> TraceContext:
    """Return the context of a new, sampled trace."""
    return TraceContext(secrets.token_hex(16), secrets.token_hex(8), "01")


def is_tracing() -> bool:
    """Return whether this process exports its traces."""
    return False


def current_traceparent() -> str | None:
    """Return the traceparent of the current work; None outside of a trace."""
    current = _current.get()
    return current.traceparent if current else None


def current_tracestate() -> str | None:
    """Return the tracestate of the current work, if there is one."""
    current = _current.get()
    return current.tracestate if current else None


@contextmanager
def continued_trace(traceparent: str | None, *, tracestate: str | None = None) -> Iterator[TraceContext]:
    """Run the block in a child span of the given context, or in a new trace. Its logs carry the `trace_id`."""
    parent = parse_traceparent(traceparent, tracestate=tracestate) if traceparent else None
    context = parent.child() if parent else new_trace()
    token = _current.set(context)
    log_tokens = bind_contextvars(trace_id=context.trace_id)
    try:
        yield context
    finally:
        reset_contextvars(**log_tokens)
        _current.reset(token)

"""The trace that the current work belongs to, and the spans of that work, with OpenTelemetry.

A request, an event, a job and a delivery always belong to a trace, whose id is in their log lines and in the events
that they record. Spans are recorded only while the process exports them (`shared.otlp`): otherwise a block passes the
context of its caller on unchanged, so that a trace of others stays connected through this process.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

from opentelemetry.context import Context, attach, detach
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    format_span_id,
    format_trace_id,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from shared.error_descriptions import describe_error

Attributes = Mapping[str, AttributeValue]

_PROPAGATOR = TraceContextTextMapPropagator()
_IDS = RandomIdGenerator()
_KNOWN_FLAGS = TraceFlags.SAMPLED | TraceFlags.RANDOM_TRACE_ID
"""The flags whose meaning is the same in every version of traceparent."""
_EMPTY = Context()
_NO_SPAN = nullcontext(INVALID_SPAN)


class _Recording:
    """The tracer of this process; None while it exports nothing."""

    tracer: Tracer | None = None


def record_spans(tracer: Tracer | None) -> None:
    """Record the spans of this process with a tracer; with None, record none."""
    _Recording.tracer = tracer


def is_tracing() -> bool:
    """Return whether this process records and exports spans."""
    return _Recording.tracer is not None


def parse_traceparent(traceparent: str | None, *, tracestate: str | None = None) -> SpanContext | None:
    """Parse a traceparent; return None if it is malformed, so that the caller begins a new trace."""
    parsed = get_current_span(_given_context(traceparent, tracestate)).get_span_context()
    return parsed if parsed.is_valid else None


def _given_context(traceparent: str | None, tracestate: str | None) -> Context:
    """Return a context with the given span as the current one; the empty one if there is none, or it is malformed."""
    if not traceparent:
        return _EMPTY
    carrier = {"traceparent": traceparent}
    if tracestate:
        carrier["tracestate"] = tracestate
    given = _PROPAGATOR.extract(carrier, _EMPTY)
    found = get_current_span(given).get_span_context()
    if found.trace_flags <= _KNOWN_FLAGS:
        return given
    flags = TraceFlags(found.trace_flags & _KNOWN_FLAGS)
    return _context_of(
        SpanContext(found.trace_id, found.span_id, is_remote=True, trace_flags=flags, trace_state=found.trace_state)
    )


def _context_of(current: SpanContext) -> Context:
    return set_span_in_context(NonRecordingSpan(current), _EMPTY)


def traceparent_of(context: SpanContext) -> str:
    """Return the value of the traceparent header."""
    return f"00-{format_trace_id(context.trace_id)}-{format_span_id(context.span_id)}-{context.trace_flags:02x}"


def trace_id_of(traceparent: str | None) -> str | None:
    """Return the trace id of a traceparent in hexadecimal; None if it is missing or malformed."""
    context = parse_traceparent(traceparent)
    return format_trace_id(context.trace_id) if context is not None else None


def tracestate_of(context: SpanContext) -> str | None:
    """Return the value of the tracestate header, if there is one."""
    return context.trace_state.to_header() if context.trace_state else None


def new_trace() -> SpanContext:
    """Return the context of a new, sampled trace."""
    return _new_context(TraceFlags.SAMPLED)


def _new_context(flags: int) -> SpanContext:
    trace_id, span_id = _IDS.generate_trace_id(), _IDS.generate_span_id()
    return SpanContext(trace_id, span_id, is_remote=False, trace_flags=TraceFlags(flags))


def current_traceparent() -> str | None:
    """Return the traceparent of the current work; None outside of a trace."""
    context = get_current_span().get_span_context()
    return traceparent_of(context) if context.is_valid else None


def current_tracestate() -> str | None:
    """Return the tracestate of the current work, if there is one."""
    return tracestate_of(get_current_span().get_span_context())


def current_trace_id() -> str | None:
    """Return the trace id of the current work in hexadecimal; None outside of a trace."""
    context = get_current_span().get_span_context()
    return format_trace_id(context.trace_id) if context.is_valid else None


def trace_headers() -> dict[str, str]:
    """Return the headers that let another service continue the current trace.

    Outside of a trace, as in a poll, the other service is asked to record no spans.
    """
    headers: dict[str, str] = {}
    current = get_current_span().get_span_context()
    _PROPAGATOR.inject(headers, context=None if current.is_valid else _context_of(_new_context(TraceFlags.DEFAULT)))
    return headers


@contextmanager
def unrecorded_trace() -> Iterator[Span]:
    """Run the block in a new trace whose spans are not recorded, such as a probe."""
    token = attach(_context_of(_new_context(TraceFlags.DEFAULT)))
    try:
        yield INVALID_SPAN
    finally:
        detach(token)


@contextmanager
def continued_trace(traceparent: str | None, *, tracestate: str | None = None) -> Iterator[Span]:
    """Run the block in the given trace context, or in a new trace. Its logs carry the `trace_id`.

    The block has no span of its own: what it records and calls has the given span as its parent.
    """
    token = attach(_given_context(traceparent, tracestate) or _context_of(new_trace()))
    try:
        yield INVALID_SPAN
    finally:
        detach(token)


def span(
    name: str,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Attributes | None = None,
    links: Sequence[Link] = (),
) -> AbstractContextManager[Span]:
    """Run the block in a child span of the current one, or in none outside of a trace.

    An error of the block is the span's, and is raised again. Costs nothing while the process exports nothing.
    """
    if _Recording.tracer is None:
        return _NO_SPAN
    started = start_child(name, kind=kind, attributes=attributes, links=links)
    return _NO_SPAN if started is INVALID_SPAN else active(started)


def start_child(name: str, *, kind: SpanKind, attributes: Attributes | None = None, links: Sequence[Link] = ()) -> Span:
    """Start a child span of the current one, or none outside of a recorded trace. The caller ends it."""
    if _Recording.tracer is None or not get_current_span().get_span_context().trace_flags.sampled:
        return INVALID_SPAN
    return _Recording.tracer.start_span(name, None, kind, attributes, links)


def entry_span(
    name: str,
    *,
    kind: SpanKind,
    traceparent: str | None,
    tracestate: str | None = None,
    attributes: Attributes | None = None,
) -> AbstractContextManager[Span]:
    """Run work that came from elsewhere in its trace, or in a new one, with a span of its own if spans are recorded."""
    if _Recording.tracer is None:
        return continued_trace(traceparent, tracestate=tracestate)
    return active(start_span(name, kind=kind, traceparent=traceparent, tracestate=tracestate, attributes=attributes))


def start_span(
    name: str,
    *,
    kind: SpanKind,
    traceparent: str | None,
    tracestate: str | None = None,
    attributes: Attributes | None = None,
    links: Sequence[Link] = (),
) -> Span:
    """Start a span below a given one, or as the root of a new trace. The caller ends it."""
    if _Recording.tracer is None:
        return INVALID_SPAN
    return _Recording.tracer.start_span(name, _given_context(traceparent, tracestate), kind, attributes, links)


@contextmanager
def active(started: Span) -> Iterator[Span]:
    """Run the block in a span, and end it. An error of the block is the span's, and is raised again."""
    token = attach(set_span_in_context(started))
    try:
        yield started
    except BaseException as error:
        fail(started, error)
        raise
    finally:
        detach(token)
        started.end()


def fail(failed: Span, error: BaseException | str) -> None:
    """Mark a span as failed, by an error or by its code. An error is described without values: some are personal."""
    if not failed.is_recording():
        return
    code = error if isinstance(error, str) else type(error).__qualname__
    failed.set_attribute("error.type", code)
    failed.set_status(Status(StatusCode.ERROR, code if isinstance(error, str) else describe_error(error)))

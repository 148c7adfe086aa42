"""Export of this process's spans and log lines by OTLP over HTTP, in threads of their own and with bounded queues.

A collector that is away, slow or broken costs spans and log records, which are counted; it delays no work, and no
shutdown for long. OpenTelemetry's own variables, such as OTEL_EXPORTER_OTLP_HEADERS, _CERTIFICATE and _TIMEOUT, apply.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Sequence
from typing import Any

import structlog
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider, ReadWriteLogRecord
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
from prometheus_client import Counter
from structlog.typing import EventDict

from shared.error_descriptions import describe_error
from shared.logging import error_of, traceback_without_values
from shared.telemetry import record_spans

logger = structlog.get_logger(__name__)

MAX_QUEUED = 8_192
"""Upper bound of the spans, and of the log records, that wait for the exporter. More are dropped."""
EXPORT_INTERVAL_SECONDS = 1.0
"""Time between two exports. A higher value means fewer requests, and a trace is seen later."""
MAX_EXPORT_ITEMS = 512
"""Upper bound of spans or log records in one request to the collector."""
CLOSE_TIMEOUT_SECONDS = 2.0
"""Time for what is queued to be exported as the process ends. Then it is dropped."""
MAX_LINKS = 2_000
"""Upper bound of a span's links: as many as a batch has events."""
MAX_ATTRIBUTE_LENGTH = 8_192
"""Upper bound of an attribute in characters. A longer statement is cut."""

DROPPED = Counter(
    "telemetry_dropped_total",
    "Spans and log records that were not exported, because the collector did not take them",
    ["signal"],
)

_SEVERITIES = {
    "debug": SeverityNumber.DEBUG,
    "info": SeverityNumber.INFO,
    "warning": SeverityNumber.WARN,
    "error": SeverityNumber.ERROR,
    "critical": SeverityNumber.FATAL,
}
_NO_ATTRIBUTES = frozenset({"event", "level", "timestamp", "trace_id", "service", "exc_info", "stack_info"})
"""Fields of a log line that are part of the record itself, or of its resource."""


class _FirstMessage(logging.Handler):
    """Keeps the library's first message about an export, which says why it failed, instead of logging every one."""

    message = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a message unless there is one."""
        self.message = self.message or record.getMessage()


class _Gate:
    """Lets a bounded number of items wait for an exporter, and counts and reports those that are not exported."""

    def __init__(self, signal: str, exporter: Any, *, endpoint: str) -> None:
        self._signal = signal
        self._exporter = exporter
        self._endpoint = endpoint
        self._lock = threading.Lock()
        self._waiting = 0
        self._is_failing = False
        self._first = _FirstMessage(logging.WARNING)
        library = logging.getLogger(type(exporter).__module__)
        library.handlers, library.propagate = [self._first], False
        library.setLevel(logging.WARNING)

    def admit(self) -> bool:
        """Return whether another item may be queued."""
        with self._lock:
            if is_admitted := self._waiting < MAX_QUEUED:
                self._waiting += 1
        if not is_admitted:
            DROPPED.labels(self._signal).inc()
        return is_admitted

    def export(self, batch: Sequence[Any]) -> Any:
        """Export a batch, in the thread of a processor."""
        with self._lock:
            self._waiting -= len(batch)
        self._first.message = ""
        result = self._exporter.export(batch)
        if result.value:
            DROPPED.labels(self._signal).inc(len(batch))
        self._report(is_failing=bool(result.value))
        return result

    def shutdown(self) -> None:
        """Give up the current export."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 0) -> bool:  # noqa: ARG002 - the library's signature
        """Return at once: nothing is buffered here."""
        return True

    def _report(self, *, is_failing: bool) -> None:
        """Log when the exports begin to fail, and when they work again."""
        if is_failing and not self._is_failing:
            reason = self._first.message
            logger.warning("telemetry_not_exported", signal=self._signal, endpoint=self._endpoint, reason=reason)
        elif self._is_failing and not is_failing:
            logger.info("telemetry_exported_again", signal=self._signal)
        self._is_failing = is_failing


class _SpanProcessor(BatchSpanProcessor):
    def __init__(self, gate: _Gate) -> None:
        super().__init__(
            gate,  # type: ignore[arg-type]  # an exporter in all but name
            max_queue_size=MAX_QUEUED,
            schedule_delay_millis=EXPORT_INTERVAL_SECONDS * 1000,
            max_export_batch_size=MAX_EXPORT_ITEMS,
        )
        self._gate = gate

    def on_end(self, span: ReadableSpan) -> None:
        if self._gate.admit():
            super().on_end(span)


class _LogProcessor(BatchLogRecordProcessor):
    def __init__(self, gate: _Gate) -> None:
        super().__init__(
            gate,  # type: ignore[arg-type]  # an exporter in all but name
            max_queue_size=MAX_QUEUED,
            schedule_delay_millis=EXPORT_INTERVAL_SECONDS * 1000,
            max_export_batch_size=MAX_EXPORT_ITEMS,
        )
        self._gate = gate

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        if self._gate.admit():
            super().on_emit(log_record)


class Telemetry:
    """The exporters of this process. From their creation on, spans are recorded."""

    def __init__(self, service: str, *, endpoint: str, sample_ratio: float) -> None:
        resource = Resource.create(
            {"service.name": service, "service.instance.id": f"{socket.gethostname()}:{os.getpid()}"}
        )
        base = endpoint.rstrip("/")
        spans, logs = f"{base}/v1/traces", f"{base}/v1/logs"
        self._gates = [
            _Gate("span", OTLPSpanExporter(endpoint=spans), endpoint=spans),
            _Gate("log", OTLPLogExporter(endpoint=logs), endpoint=logs),
        ]
        self._traces = TracerProvider(
            sampler=ParentBasedTraceIdRatio(sample_ratio),
            resource=resource,
            shutdown_on_exit=False,
            span_limits=SpanLimits(max_links=MAX_LINKS, max_attribute_length=MAX_ATTRIBUTE_LENGTH),
        )
        self._traces.add_span_processor(_SpanProcessor(self._gates[0]))
        self._logs = LoggerProvider(resource=resource, shutdown_on_exit=False)
        self._logs.add_log_record_processor(_LogProcessor(self._gates[1]))
        self._logger = self._logs.get_logger("orderly")
        record_spans(self._traces.get_tracer("orderly"))

    def export_line(self, line: EventDict) -> None:
        """Export a log line: its event name as the body, its fields as attributes, its trace and span."""
        level = str(line.get("level", "info"))
        attributes = {
            name: _value(value)
            for name, value in line.items()
            if name not in _NO_ATTRIBUTES and not name.startswith("_") and value is not None
        }
        error = error_of(line.get("exc_info"))
        if error is not None:
            attributes["exception.type"] = type(error).__qualname__
            attributes["exception.message"] = describe_error(error)
            attributes["exception.stacktrace"] = traceback_without_values(error)
        self._logger.emit(
            LogRecord(
                timestamp=time.time_ns(),
                severity_text=level,
                severity_number=_SEVERITIES.get(level, SeverityNumber.INFO),
                body=str(line["event"]),
                attributes=attributes,
            )
        )

    def close(self) -> None:
        """Export what is queued, within a time-out, and record nothing more."""
        record_spans(None)
        # Daemons: neither a collector that hangs nor the library's own time-outs keep the process from ending.
        threads = [
            threading.Thread(target=shutdown, daemon=True) for shutdown in (self._traces.shutdown, self._logs.shutdown)
        ]
        for thread in threads:
            thread.start()
        until = time.monotonic() + CLOSE_TIMEOUT_SECONDS
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        for thread, gate in zip(threads, self._gates, strict=True):
            if thread.is_alive():
                gate.shutdown()


def _value(value: object) -> Any:
    if isinstance(value, bool | float | str):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else str(value)
    if isinstance(value, list | tuple | set | frozenset):
        return [str(each) for each in value]
    return str(value)

"""Structured logs of the process and its libraries: JSON, or lines for a terminal."""

import json
import logging
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any, Literal, TextIO

import orjson
import structlog
from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

from shared.error_descriptions import describe_error, error_chain
from shared.telemetry import current_trace_id

# Libraries that install their own handlers, or whose INFO messages only help to debug them.
_LIBRARY_LEVELS = {
    "uvicorn.access": logging.CRITICAL,  # replaced by request_finished
    "uvicorn.error": logging.INFO,
    "aiokafka": logging.WARNING,
    "shared.messaging.faststream": logging.ERROR,  # it warns of settings that are intended
    "httpcore2": logging.WARNING,
    "httpx2": logging.WARNING,
    "opentelemetry": logging.CRITICAL,  # shared.otlp reports what was not exported; a bad header begins a new trace
    "pgqueuer": logging.WARNING,
    "shared.connection_pool.ConnectionPool": logging.WARNING,  # SQLAlchemy names a pool's logger after its class
    "sqlalchemy": logging.WARNING,
}


_TASK = re.compile(r"<(?:Task|Future) .*>", re.DOTALL)


class _Line(str):
    """A finished line, as the message of a record."""

    __slots__ = ()


class _Formatter(structlog.stdlib.ProcessorFormatter):
    """Formats the records of libraries. Our own loggers pass finished lines, which costs less than formatting twice."""

    def format(self, record: logging.LogRecord) -> str:
        return record.msg if isinstance(record.msg, _Line) else super().format(record)


def configure_logging(
    service: str,
    *,
    level: str = "info",
    format: Literal["json", "console"] = "json",  # noqa: A002 - named as in the settings
    stream: TextIO | None = None,
    export: Callable[[EventDict], None] | None = None,
) -> None:
    """Send all logs of this process to `stream`, by default stdout. A second call replaces the first.

    `export` gets the fields of each line, too, before they are rendered.
    """
    shared_processors: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _adding_service(service),
        _add_trace_id,
    ]
    if export is not None:
        shared_processors.append(_exporting(export))
    renderers = _renderers(format)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared_processors,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *renderers,
            _finish,  # type: ignore[list-item]  # what comes before it returns the line
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.setFormatter(
        _Formatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), _drop_quoted_task, *shared_processors],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    _set_library_levels(level)


def _adding_service(service: str) -> Processor:
    def processor(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["service"] = service
        event.pop("color_message", None)  # uvicorn's copy of the message with escape codes
        return event

    return processor


def _add_trace_id(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    if trace_id := current_trace_id():
        event["trace_id"] = trace_id
    return event


def _exporting(export: Callable[[EventDict], None]) -> Processor:
    def processor(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        export(event)
        return event

    return processor


def _renderers(format: Literal["json", "console"]) -> list[Processor]:  # noqa: A002
    if format == "console":
        return [
            structlog.dev.ConsoleRenderer(
                colors=sys.stdout.isatty(),
                exception_formatter=_write_traceback_without_values,
            ),
        ]
    return [
        structlog.processors.ExceptionRenderer(_traceback_without_values),
        structlog.processors.JSONRenderer(serializer=_json),
    ]


def _traceback_without_values(exc_info: ExcInfo) -> list[dict[str, Any]]:
    """Return the traceback as structlog does, but with described errors in place of their messages."""
    stacks = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)(exc_info)
    _describe(stacks, exc_info[1])
    return stacks


def _describe(stacks: list[dict[str, Any]], error: BaseException) -> None:
    for stack, raised in zip(stacks, error_chain(error), strict=False):
        stack.update(exc_value=describe_error(raised), exc_notes=[], syntax_error=None)
        members = raised.exceptions if isinstance(raised, BaseExceptionGroup) else ()
        for member_stacks, member in zip(stack["exceptions"], members, strict=False):
            _describe(member_stacks, member)


def traceback_without_values(error: BaseException) -> str:
    """Return the traceback as Python writes it, the cause first, with described errors instead of their messages."""
    return "".join(
        "".join(traceback.format_tb(raised.__traceback__)) + f"{describe_error(raised)}\n"
        for raised in reversed(list(_whole_chain(error)))
    )


def error_of(exc_info: object) -> BaseException | None:
    """Return the error that a line's `exc_info` stands for: an error, what `sys.exc_info` returns, or True for that."""
    if isinstance(exc_info, BaseException):
        return exc_info
    found = exc_info if isinstance(exc_info, tuple) else sys.exc_info() if exc_info else (None, None)
    return found[1] if isinstance(found[1], BaseException) else None


def _write_traceback_without_values(stream: TextIO, exc_info: ExcInfo) -> None:
    stream.write(traceback_without_values(exc_info[1]))


def _whole_chain(error: BaseException) -> Iterator[BaseException]:
    for raised in error_chain(error):
        yield raised
        for member in raised.exceptions if isinstance(raised, BaseExceptionGroup) else ():
            yield from _whole_chain(member)


def _drop_quoted_task(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Cut the text of a task, which quotes its error, out of a library's message about it; `exception` describes it."""
    event["event"] = _TASK.sub("<Task>", str(event["event"]))
    return event


def _finish(_logger: WrappedLogger, _method: str, line: str) -> _Line:
    return _Line(line)


def _json(event: EventDict, **_options: object) -> str:
    try:
        return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:  # a huge number, or invalid Unicode: log the line all the same
        return json.dumps({str(name): value for name, value in event.items()}, default=str)


def _set_library_levels(level: str) -> None:
    for name, library_level in _LIBRARY_LEVELS.items():
        logger = logging.getLogger(name)
        logger.handlers = []
        logger.propagate = True
        debugging = level == "debug" and name != "uvicorn.access"
        logger.setLevel(logging.NOTSET if debugging else library_level)
    logging.getLogger("uvicorn").handlers = []
    logging.captureWarnings(capture=True)

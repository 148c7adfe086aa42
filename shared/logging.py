"""Structured logs of the process and its libraries: JSON, or lines for a terminal."""

import json
import logging
import sys
from typing import Literal, TextIO

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

# Libraries that install their own handlers, or whose INFO messages only help to debug them.
_LIBRARY_LEVELS = {
    "uvicorn.access": logging.CRITICAL,  # replaced by request_finished
    "uvicorn.error": logging.INFO,
    "aiokafka": logging.WARNING,
    "shared.messaging.faststream": logging.ERROR,  # it warns of settings that are intended
    "httpcore2": logging.WARNING,
    "httpx2": logging.WARNING,
    "pgqueuer": logging.WARNING,
    "sqlalchemy": logging.WARNING,
}


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
) -> None:
    """Send all logs of this process to `stream`, by default stdout. A second call replaces the first."""

    def add_service(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["service"] = service
        event.pop("color_message", None)  # uvicorn's copy of the message with escape codes
        return event

    shared_processors: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_service,
    ]
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
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared_processors],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    _set_library_levels(level)


def _renderers(format: Literal["json", "console"]) -> list[Processor]:  # noqa: A002
    if format == "console":
        return [
            structlog.dev.ConsoleRenderer(
                colors=sys.stdout.isatty(),
                exception_formatter=structlog.dev.plain_traceback,
            ),
        ]
    return [
        structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False)),
        structlog.processors.JSONRenderer(serializer=_json),
    ]


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

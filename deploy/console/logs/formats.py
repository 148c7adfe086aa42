"""Parsing of lines of log files: what the services, PostgreSQL, Kafka, Valkey and Traefik write on this machine."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from deploy.console.telemetry.records import LEVELS

_LEVELS = {
    **{level: level for level in LEVELS},
    "warn": "warning",
    "fatal": "critical",
    # PostgreSQL's, of which FATAL ends a session only.
    "LOG": "info",
    "NOTICE": "info",
    "INFO": "info",
    "WARNING": "warning",
    "ERROR": "error",
    "FATAL": "error",
    "PANIC": "critical",
    # Valkey's.
    ".": "debug",
    "-": "debug",
    "*": "info",
    "#": "warning",
}
_CONSOLE = re.compile(r"(?P<at>\d{4}-\d\d-\d\dT[\d:.]+Z) \[(?P<level>\w+) *\] (?P<rest>.*)")
_CONSOLE_EVENT = re.compile(r"(?P<event>.*?) +\[(?P<logger>[\w.]+)\](?: (?P<fields>.*))?")
_NEXT_FIELD = re.compile(r" (?=\w+=)")
_POSTGRESQL = re.compile(
    r"(?P<at>\d{4}-\d\d-\d\d [\d:.]+) UTC \[(?P<pid>\d+)\] (?:(?P<session>\S+@\S+) )?"
    r"(?P<level>[A-Z]+)\d?: +(?P<event>.*)"
)
_LOG4J = re.compile(r"(?P<at>\d{4}-\d\d-\d\dT[\d:]+,\d{3}) (?P<level>[A-Z]+) +(?P<logger>\S+) (?P<event>.*)")
_VALKEY = re.compile(r"(?P<pid>\d+):[A-Z] (?P<at>\d+ \w{3} \d{4} [\d:.]+) (?P<level>[.*#-]) (?P<event>.*)")
_NAMED_LEVEL = re.compile(r"(?P<level>[A-Z]+): (?P<event>.*)")
_JSON_TIMES = ("time", "timestamp", "StartUTC")
_JSON_EVENTS = ("event", "message", "msg", "RequestPath")


@dataclass(frozen=True, kw_only=True)
class ParsedLine:
    """The content of a line of a log file."""

    event: str
    level: str | None = None
    at: datetime | None = None
    """None if the line does not say it, such as a line of a traceback."""
    logger: str | None = None
    fields: dict[str, Any] = field(default_factory=dict)


def parse_line(line: str) -> ParsedLine:
    """Parse a line. One of an unknown form, or with an impossible time, is an event without time and level."""
    for parse in _PARSERS:
        try:
            parsed = parse(line)
        except (ValueError, OverflowError):
            continue
        if parsed is not None:
            return parsed
    return ParsedLine(event=line)


def _console(line: str) -> ParsedLine | None:
    """Parse a line of structlog's console renderer: time, level, event, logger, keywords."""
    if (found := _CONSOLE.fullmatch(line)) is None:
        return None
    level, at = _LEVELS.get(found["level"]), datetime.fromisoformat(found["at"])
    if (content := _CONSOLE_EVENT.fullmatch(found["rest"])) is None:
        return ParsedLine(event=found["rest"].rstrip(), level=level, at=at)
    pairs = (each.partition("=") for each in _NEXT_FIELD.split(content["fields"] or ""))
    fields: dict[str, Any] = {name: _unquoted(value) for name, separator, value in pairs if separator}
    fields.pop("service", None)
    return ParsedLine(event=content["event"], level=level, at=at, logger=content["logger"], fields=fields)


def _json(line: str) -> ParsedLine | None:
    """Parse a JSON object, such as a line of Traefik."""
    if not line.startswith("{"):
        return None
    fields = orjson.loads(line)
    at = next((fields.pop(name) for name in _JSON_TIMES if name in fields), None)
    event = next((fields.pop(name) for name in _JSON_EVENTS if fields.get(name)), "")
    level, logger = fields.pop("level", None), fields.pop("logger", None)
    return ParsedLine(
        event=str(event),
        level=_LEVELS.get(str(level).lower()),
        at=_in_utc(datetime.fromisoformat(at)) if isinstance(at, str) else None,
        logger=logger if isinstance(logger, str) else None,
        fields=fields,
    )


def _postgresql(line: str) -> ParsedLine | None:
    if (found := _POSTGRESQL.fullmatch(line)) is None:
        return None
    at = _in_utc(datetime.fromisoformat(found["at"]))
    fields = {name: found[name] for name in ("pid", "session") if found[name]}
    if found["level"] in _LEVELS or found["level"] == "DEBUG":
        return ParsedLine(event=found["event"], level=_LEVELS.get(found["level"], "debug"), at=at, fields=fields)
    # DETAIL, STATEMENT and others belong to the line before, and have its level.
    return ParsedLine(event=f"{found['level']}: {found['event']}", at=at, fields=fields)


def _log4j(line: str) -> ParsedLine | None:
    if (found := _LOG4J.fullmatch(line)) is None:
        return None
    at = datetime.fromisoformat(found["at"]).astimezone(UTC)  # written in the machine's zone
    return ParsedLine(event=found["event"], level=_LEVELS.get(found["level"].lower()), at=at, logger=found["logger"])


def _valkey(line: str) -> ParsedLine | None:
    if (found := _VALKEY.fullmatch(line)) is None:
        return None
    at = datetime.strptime(found["at"], "%d %b %Y %H:%M:%S.%f").astimezone(UTC)
    return ParsedLine(event=found["event"], level=_LEVELS[found["level"]], at=at, fields={"pid": found["pid"]})


def _named_level(line: str) -> ParsedLine | None:
    if (found := _NAMED_LEVEL.fullmatch(line)) is None or found["level"].lower() not in LEVELS:
        return None
    return ParsedLine(event=found["event"], level=found["level"].lower())


_PARSERS: tuple[Callable[[str], ParsedLine | None], ...] = (
    _console,
    _json,
    _postgresql,
    _log4j,
    _valkey,
    _named_level,
)


def _unquoted(value: str) -> str:
    """Return a value without the quotes that the console renderer puts around spaces."""
    is_quoted = len(value) >= 2 and value[0] == value[-1] and value[0] in "'\""
    return value[1:-1] if is_quoted else value


def _in_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)

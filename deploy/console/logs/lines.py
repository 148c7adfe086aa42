"""A log line of any source, and the filter that chooses lines."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import orjson

from deploy.console.telemetry.records import LEVELS

_TERM = re.compile(r'(?:(?P<keyword>[\w.:-]+)=)?(?:"(?P<quoted>[^"]*)"|(?P<plain>\S+))')
OWN_KEYWORDS = {"process", "instance", "logger", "trace_id", "span_id", "event", "level"}
"""Parts of a line that can be searched for like its keywords."""


@dataclass(frozen=True, kw_only=True)
class LogLine:
    """A log line."""

    at: datetime
    level: str
    process: str
    """A service, or the name of a log file without `.log`."""
    event: str
    """The name of the event, or the text of a line without structure."""
    source: Literal["otlp", "file"]
    instance: str | None = None
    logger: str | None = None
    trace_id: str | None = None
    span_id: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)

    def value_of(self, keyword: str) -> str | None:
        """Return the value of a keyword as text; None if the line has none of that name."""
        if keyword in self.fields:
            value = self.fields[keyword]
            return value if isinstance(value, str) else orjson.dumps(value).decode()
        own: str | None = getattr(self, keyword, None) if keyword in OWN_KEYWORDS else None
        return own

    def contains(self, text: str) -> bool:
        """Return whether the text occurs in the event, the logger, a keyword or its value; case does not matter."""
        content = f"{self.event} {self.logger or ''} {orjson.dumps(self.fields).decode()}"
        return text.lower() in content.lower()


@dataclass(frozen=True, kw_only=True)
class LogFilter:
    """The conditions of the lines to show. Every condition must hold; None, or an empty one, always does."""

    process: str | None = None
    min_level: str | None = None
    event: str | None = None
    trace_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    """The time before which the line was written."""
    keywords: tuple[tuple[str, str], ...] = ()
    words: tuple[str, ...] = ()

    @property
    def min_level_number(self) -> int:
        """The index of the lowest level in `LEVELS`."""
        return LEVELS.index(self.min_level) if self.min_level else 0

    def matches(self, line: LogLine) -> bool:
        """Return whether to show a line. `process` is judged where lines are read."""
        return (
            LEVELS.index(line.level) >= self.min_level_number
            and (self.event is None or line.event == self.event)
            and (self.trace_id is None or line.value_of("trace_id") == self.trace_id)
            and (self.since is None or line.at >= self.since)
            and (self.until is None or line.at < self.until)
            and all(line.value_of(keyword) == value for keyword, value in self.keywords)
            and all(map(line.contains, self.words))
        )


def parse_search(search: str) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    """Split what somebody searches for, such as `order_id=7 "time out"`, into keywords with values, and words."""
    keywords, words = [], []
    for term in _TERM.finditer(search):
        value = term["plain"] if term["quoted"] is None else term["quoted"]
        if term["keyword"] is not None:
            keywords.append((term["keyword"], value))
        else:
            words.append(value)
    return tuple(keywords), tuple(words)

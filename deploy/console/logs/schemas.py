"""Response bodies of the page *Logs* and its API."""

from datetime import datetime
from typing import Any, Literal

from shared.http.bodies import ResponseBody

Level = Literal["trace", "debug", "info", "warning", "error", "critical"]


class LogLineView(ResponseBody):
    """A log line."""

    at: datetime
    level: Level
    process: str
    """The service, or the name of a log file without `.log`."""
    instance: str | None
    event: str
    """The name of the event; the text of a line without structure."""
    logger: str | None
    trace_id: str | None
    span_id: str | None
    fields: dict[str, Any]
    source: Literal["otlp", "file"]
    """`otlp` if the service sent the line, `file` if it was read from a log file of this machine."""


class LogPage(ResponseBody):
    """The newest lines that match, the newest last."""

    items: list[LogLineView]
    cursor: str
    """Pass it as `cursor` to get the lines that came after these."""
    has_more: bool
    """Whether older lines match, too. Pass the time of the first line as `until` to get them."""
    processes: list[str]
    """The processes that have logs."""

"""The logs of the services' processes: unexpected errors, and when the cache was unavailable."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

OUR_LOGGERS = ("shared.", "services.")
CACHE_UNAVAILABLE = "cache_unavailable"
EXCUSED_FOR = timedelta(seconds=65)
"""A process warns at most every 30 s that Valkey is unavailable, and what it could not invalidate lives 30 s more."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One entry of a log."""

    process: str
    logger: str
    at: datetime
    level: str
    event: str
    details: str


def entries(logs: Path, processes: Iterable[str]) -> Iterator[Entry]:
    """Yield the entries of the processes' logs, those of one process in their order."""
    for process in processes:
        path = logs / f"{process}.log"
        for line in path.read_text(errors="replace").splitlines() if path.exists() else ():
            if (entry := _parsed(line)) is not None and {"level", "event", "timestamp"} <= entry.keys():
                yield Entry(
                    process=process,
                    logger=str(entry.get("logger")),
                    at=datetime.fromisoformat(entry["timestamp"]),
                    level=entry["level"],
                    event=entry["event"],
                    details=_details(entry),
                )


def unexpected_errors(found: Sequence[Entry]) -> list[str]:
    """Return a sentence for each kind of error that the services' code has logged.

    Libraries log errors that are repeated, such as those of a Kafka that still starts.
    """
    errors = [entry for entry in found if entry.level in {"error", "critical"} and entry.logger.startswith(OUR_LOGGERS)]
    counts = Counter((entry.process, entry.event, entry.details) for entry in errors)
    return [
        f"{process} logged {count} times: {event} {details}".strip()
        for (process, event, details), count in sorted(counts.items())
    ]


def is_excused(at: datetime, found: Sequence[Entry]) -> bool:
    """Return whether a stale read is explained: Valkey was too slow for a process, which could not invalidate."""
    return any(entry.event == CACHE_UNAVAILABLE and entry.at <= at <= entry.at + EXCUSED_FOR for entry in found)


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None


def _details(entry: dict[str, Any]) -> str:
    """Return where it happened, and the type of the error, but no ids: equal errors are counted together."""
    where = [str(entry[name]) for name in ("loop", "route", "consumer", "reason") if name in entry]
    stacks = entry.get("exception") or []
    raised = [str(stack.get("exc_value") or stack.get("exc_type")) for stack in stacks if isinstance(stack, dict)]
    return ", ".join([*where, *raised[:1], *([str(entry["error"])] if "error" in entry else [])])[:300]

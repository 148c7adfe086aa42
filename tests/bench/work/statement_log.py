"""PostgreSQL's log of every statement, as JSON: exact counts, in the order in which each session executed them."""

import asyncio
import json
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

from tests.harness.waiting import until

SERVER_SETTINGS = {
    "logging_collector": "on",
    "log_destination": "jsonlog",
    "log_filename": "statements",
    "log_rotation_age": "0",
    "log_rotation_size": "0",
    "log_statement": "all",
    # Parameters are personal data, and would make the log many times larger.
    "log_parameter_max_length": "0",
}
LOG_FILE = Path("log", "statements.json")
"""The log below the server's data folder."""
READ_TIMEOUT_SECONDS = 30.0

_LOGGED = re.compile(r"(?:statement|execute [^:]*): (.*)", re.DOTALL)
_NUMBERED_SAVEPOINT = re.compile(r"(savepoint_)\w+")
_LITERAL = re.compile(r"'(?:[^']|'')*'|(?<![$\w.])\d+(?:\.\d+)?\b")
_COMMENT = re.compile(r"--[^\n]*")
_SPACE = re.compile(r"\s+")
_MULTIPLE_PLACEHOLDERS = re.compile(r"\((?:\$\d+(?:::[\w ]+)?(?:, )?){2,}\)")


@dataclass(frozen=True)
class Statement:
    """One execution. `session` is the process id of its backend."""

    service: str
    session: int
    text: str


@dataclass
class StatementLog:
    """Reads the statements of the services' roles; each service has a role and a database of its own name."""

    path: Path
    services: Collection[str]
    _offset: int = 0
    _rest: bytes = b""
    _marks: set[str] = field(default_factory=set)

    async def read(self, superuser: "asyncpg.Connection[asyncpg.Record]") -> list[Statement]:
        """Return the statements since the last call, up to now. Raises: AssertionError if the log does not arrive."""
        mark, found = secrets.token_hex(8), list[Statement]()
        # All backends write to one pipe: after this statement's line, the log holds all earlier ones.
        await superuser.execute(f"SELECT '{mark}'")

        async def has_arrived() -> bool:
            found.extend(self._new_statements())
            return mark in self._marks

        await until(has_arrived, seconds=READ_TIMEOUT_SECONDS, what="PostgreSQL has written its log")
        self._marks.clear()
        return found

    def _new_statements(self) -> list[Statement]:
        with self.path.open("rb") as log:
            log.seek(self._offset)
            content = log.read()
        self._offset += len(content)
        *lines, self._rest = (self._rest + content).split(b"\n")
        entries = [json.loads(line) for line in lines if line]
        self._marks |= {part for entry in entries if (part := _mark_in(entry))}
        return [found for entry in entries if (found := self._statement_of(entry))]

    def _statement_of(self, entry: dict[str, Any]) -> Statement | None:
        logged = _LOGGED.fullmatch(entry.get("message", ""))
        if logged is None or entry.get("user") not in self.services:
            return None
        return Statement(entry["user"], entry["pid"], normalised(logged[1]))


def normalised(text: str) -> str:
    """Return a statement without comments, literals, numbers of savepoints, and line breaks."""
    text = _SPACE.sub(" ", _COMMENT.sub("", text)).strip().rstrip(";").rstrip()
    return _LITERAL.sub("?", _NUMBERED_SAVEPOINT.sub(r"\1?", text))


def label_of(text: str, *, width: int = 100) -> str:
    """Return a normalised statement shortened to one line, in which a person still recognises it."""
    text = re.sub(r"^SELECT .{40,}? FROM ", "SELECT ... FROM ", text)
    text = re.sub(r"(INSERT INTO \w+) \([^)]*\)", r"\1 (...)", text)
    text = _MULTIPLE_PLACEHOLDERS.sub("($...)", text)
    return text if len(text) <= width else f"{text[: width - 4].rpartition(' ')[0]} ..."


def _mark_in(entry: dict[str, Any]) -> str | None:
    found = re.fullmatch(r"statement: SELECT '(\w+)'", entry.get("message", ""))
    return found[1] if found else None


async def wait_for_log(path: Path) -> None:
    """Wait until the server has opened its log."""
    async with asyncio.timeout(READ_TIMEOUT_SECONDS):
        while not path.exists():  # noqa: ASYNC110, ASYNC240 - a file sends no events
            await asyncio.sleep(0.05)

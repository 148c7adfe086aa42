"""The spellings of values that the API takes: those that its OpenAPI document names, and no others.

Pydantic also takes `yes` as a boolean, `1_000` as an integer and `1700000000` as a time. That is convenient in Python,
but a client that sends one by mistake would not notice its error.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime


@dataclass(frozen=True)
class Spelling:
    """The spelling of a type's values. `code` and `message` are those of a value that is spelled otherwise."""

    pattern: re.Pattern[str]
    code: str
    message: str

    def fits(self, value: str) -> bool:
        """Return whether a value is spelled like this."""
        return self.pattern.fullmatch(value) is not None


BOOLEAN = Spelling(re.compile("true|false"), "bool_parsing", "Input should be true or false")
INTEGER = Spelling(
    re.compile("-?(?:0|[1-9][0-9]*)"), "int_parsing", "Input should be an integer, spelled with decimal digits only"
)
UUID_TEXT = Spelling(
    re.compile("[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"),
    "uuid_parsing",
    "Input should be a UUID, such as 0199a6e2-7c1e-7b7c-8a55-0d6b8f4f2c11",
)
DATE_TIME = Spelling(
    re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})"),
    "datetime_parsing",
    "Input should be a time in RFC 3339 format, such as 2026-11-23T10:00:00Z",
)
SPELLINGS: dict[object, Spelling] = {
    bool: BOOLEAN,
    int: INTEGER,
    UUID: UUID_TEXT,
    datetime: DATE_TIME,
    AwareDatetime: DATE_TIME,
}


_FIRST = datetime.min.replace(tzinfo=UTC)
_LAST = datetime.max.replace(tzinfo=UTC)


def in_utc(time: datetime) -> datetime:
    """Return a time in UTC. One that UTC moves out of the calendar becomes the calendar's first or last moment."""
    try:
        return time.astimezone(UTC)
    except OverflowError:
        return _FIRST if time.year == _FIRST.year else _LAST


Instant = Annotated[AwareDatetime, AfterValidator(in_utc)]
"""A time as a parameter. Each can be stored: PostgreSQL's driver converts times to UTC, and fails if it cannot."""

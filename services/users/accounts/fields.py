"""Types of the fields of accounts, as requests send them."""

from functools import cache
from typing import Annotated
from zoneinfo import available_timezones

from pydantic import AfterValidator, EmailStr, Field, StringConstraints
from pydantic_core import PydanticCustomError

from shared.text import PERSON_NAME_PATTERN, TEXT_PATTERN, VISIBLE_TEXT_PATTERN, check_person_name, check_text


@cache
def time_zones() -> frozenset[str]:
    """Return the names of all time zones."""
    return frozenset(available_timezones())


def _known_time_zone(name: str) -> str:
    if name not in time_zones():
        raise PydanticCustomError("time_zone_unknown", "Input should be a time zone of the IANA database")
    return name


Email = Annotated[EmailStr, Field(max_length=254, examples=["ada@orderly.example"])]
Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200),
    AfterValidator(check_person_name),
    # A mail shows the name: it must not show a link, or text in another order than it has.
    Field(
        description=(
            "One line without links, domains, control or format characters. A domain is a full stop between a word and"
            " two or more letters, as in `example.com`. After an initial or a title that is allowed, if a capital"
            " letter follows: `J.R.R. Tolkien`, `J.Smith`, `Dr.Smith`."
        ),
        examples=["Ada Lovelace"],
        json_schema_extra={"pattern": PERSON_NAME_PATTERN},
    ),
]
Bio = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=2_000),
    AfterValidator(check_text),
    Field(
        description="A few lines about the user.",
        examples=["Mathematician.\nI write programs for engines."],
        json_schema_extra={"pattern": TEXT_PATTERN},
    ),
]
Reason = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=500),
    AfterValidator(check_text),
    Field(
        description="The reason, for the record. The user can read it; do not put personal data into it.",
        examples=["Chargeback of order O-2K7WQ9XA"],
        json_schema_extra={"pattern": VISIBLE_TEXT_PATTERN},
    ),
]
Phone = Annotated[str, Field(pattern=r"^\+[1-9][0-9]{6,14}$", description="E.164", examples=["+442071838750"])]
Locale = Annotated[
    str,
    Field(pattern="^[a-z]{2,3}(-[A-Z][a-z]{3})?(-([A-Z]{2}|[0-9]{3}))?$", description="BCP 47", examples=["en-GB"]),
]
TimeZone = Annotated[
    str,
    Field(
        description="A name in the IANA time zone database",
        examples=["Europe/London"],
        json_schema_extra={"format": "iana-time-zone"},
    ),
    AfterValidator(_known_time_zone),
]

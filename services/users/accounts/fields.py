"""Types of the fields of accounts, as requests send them."""

from functools import cache
from typing import Annotated
from zoneinfo import available_timezones

from pydantic import AfterValidator, EmailStr, Field, SecretStr, StringConstraints
from pydantic_core import PydanticCustomError


@cache
def _time_zones() -> frozenset[str]:
    return frozenset(available_timezones())


def _known_time_zone(name: str) -> str:
    if name not in _time_zones():
        raise PydanticCustomError("time_zone_unknown", "Input should be a time zone of the IANA database")
    return name


def _encodable(secret: SecretStr) -> SecretStr:
    # JSON can hold half of a surrogate pair. Pydantic rejects it in a str, but not in a SecretStr.
    try:
        secret.get_secret_value().encode()
    except UnicodeEncodeError:
        raise PydanticCustomError("string_unicode", "Input should be a valid string") from None
    return secret


Secret = Annotated[SecretStr, AfterValidator(_encodable)]
Email = Annotated[EmailStr, Field(max_length=254, examples=["ada@orderly.example"])]
Name = Annotated[
    str,
    # No control characters: a name has none, and PostgreSQL can't store NUL.
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$"),
    Field(examples=["Ada Lovelace"]),
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

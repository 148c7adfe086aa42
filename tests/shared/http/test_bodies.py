"""A request body takes exactly what its JSON Schema says."""

from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from pydantic import AwareDatetime, Field, SecretStr, ValidationError

from shared.http.bodies import RequestBody

ID = "0199a6e2-7c1e-7b7c-8a55-0d6b8f4f2c11"


class Colour(StrEnum):
    RED = "red"


class Part(RequestBody):
    number: int


class Thing(RequestBody):
    count: Annotated[int, Field(ge=1, le=10)] = 1
    sizes: tuple[int, ...] = ()
    owner: UUID | None = None
    at: AwareDatetime | None = None
    colour: Colour | None = None
    colours: frozenset[Colour] = frozenset()
    name: Annotated[str, Field(max_length=5)] = ""
    code: Annotated[str, Field(pattern="^[a-z]*$")] = ""
    type: Literal["new", "old"] = "new"
    dry_run: bool = False
    weight: float = 0.0
    part: Part | None = None
    labels: dict[str, int] = Field(default_factory=dict)
    secret: SecretStr = SecretStr("")


@pytest.mark.parametrize(
    ("sent", "taken"),
    [
        ({"count": 6.0}, {"count": 6}),
        ({"sizes": [1.0, 2, -0.0, 1e15]}, {"sizes": (1, 2, 0, 10**15)}),
        ({"part": {"number": 7.0}}, {"part": Part(number=7)}),
        ({"labels": {"a": 1.0}}, {"labels": {"a": 1}}),
        ({"owner": ID}, {"owner": UUID(ID)}),
        ({"colour": "red"}, {"colour": Colour.RED}),
        ({"colours": ["red"]}, {"colours": frozenset({Colour.RED})}),
        ({"weight": 1}, {"weight": 1.0}),
        ({"dry_run": True}, {"dry_run": True}),
        ({"type": "old"}, {"type": "old"}),
    ],
)
def test_values_of_the_documented_types_are_taken(sent: dict[str, Any], taken: dict[str, Any]) -> None:
    thing = Thing.model_validate(sent)
    assert {name: getattr(thing, name) for name in taken} == taken
    assert {name: type(getattr(thing, name)) for name in taken} == {name: type(value) for name, value in taken.items()}


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ({"count": True}, "int_type"),
        ({"count": "6"}, "int_type"),
        ({"count": 6.5}, "int_type"),
        ({"count": float("inf")}, "int_type"),
        ({"count": float("nan")}, "int_type"),
        ({"count": 11.0}, "less_than_equal"),
        ({"count": 1e22}, "less_than_equal"),
        ({"part": {"number": True}}, "int_type"),
        ({"labels": {"a": "1"}}, "int_type"),
        ({"owner": ID.replace("-", "")}, "uuid_parsing"),
        ({"owner": 7}, "uuid_parsing"),
        ({"at": 1700000000}, "datetime_parsing"),
        ({"at": "1700000000"}, "datetime_parsing"),
        ({"at": "2026-11-23T10:00:00"}, "datetime_parsing"),
        ({"colour": "blue"}, "enum"),
        ({"dry_run": 0}, "bool_type"),
        ({"dry_run": 1}, "bool_type"),
        ({"dry_run": "true"}, "bool_type"),
        ({"weight": True}, "float_type"),
        ({"name": "a\0"}, "string_pattern_mismatch"),
        ({"labels": {"a\0": 1}}, "string_pattern_mismatch"),
        ({"name": "\ud800"}, "string_unicode"),
        ({"name": 1}, "string_type"),
        ({"unknown": 1}, "extra_forbidden"),
    ],
)
def test_other_values_are_refused(sent: dict[str, Any], code: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Thing.model_validate(sent)
    assert [error["type"] for error in caught.value.errors()] == [code]


def test_a_time_that_utc_cannot_show_becomes_the_nearest() -> None:
    at = Thing.model_validate({"at": "9999-12-31T23:59:59-12:00"}).at
    assert at is not None
    assert at.isoformat() == "9999-12-31T23:59:59.999999+00:00"


def test_the_json_schema_has_the_bounds_of_text() -> None:
    properties = Thing.model_json_schema()["properties"]
    assert properties["name"]["pattern"] == r"^[^\x00]*$"
    assert properties["code"]["pattern"] == "^[a-z]*$"
    assert properties["count"]["type"] == "integer"
    assert properties["secret"]["format"] == "password"

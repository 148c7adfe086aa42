"""The schemas of events: the committed ones are current, golden examples stay readable, releases are not broken."""

import json
import re
from base64 import urlsafe_b64decode
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from shared.events.exported_data import ExportedData, NotificationsExport, OrdersExport
from shared.events.golden import FOLDER as EXAMPLES
from shared.events.golden import golden_examples
from shared.events.users import AccountMail, Contact
from shared.personal_data import PersonalData, unseal
from tests.architecture.source import CHECKOUT
from tests.contracts.compatibility import breaking_changes
from tests.contracts.events import CONTRACTS
from tests.contracts.schemas import (
    COMMITTED,
    RELEASED,
    broken_releases,
    current_schemas,
    outdated_examples,
    read,
    write,
)

SEALED: dict[str, type[PersonalData]] = {
    "user.created": Contact,
    "user.updated": Contact,
    "notification.recipient_exported": ExportedData,
    "order.customer_exported": ExportedData,
}
"""The form of what is sealed in events, where it is not an `AccountMail`."""
HOW_TO_UPDATE = "run `python -m tests.contracts`, review the changes in shared/events/schemas, and commit them"


class Line(BaseModel):
    """A line of the sample event."""

    sku: str


class Sample(BaseModel):
    """An event with a field of every kind."""

    order_id: str
    reason: str | None
    amount_cents: int
    lines: list[Line]


RELEASE: dict[str, Any] = {
    **Sample.model_json_schema(),
    "x-topic": "orders",
    "x-key": "order_id",
    "examples": [{"order_id": "1"}],
}


def test_the_committed_schemas_match_the_code() -> None:
    assert read(COMMITTED) == current_schemas(), HOW_TO_UPDATE


def test_no_released_schema_is_broken() -> None:
    assert broken_releases(released=read(RELEASED), current=current_schemas()) == []


def test_the_golden_examples_cover_exactly_the_events() -> None:
    assert {folder.name for folder in EXAMPLES.iterdir()} == set(CONTRACTS)


def test_golden_examples_are_numbered_without_a_gap() -> None:
    numbers = {folder.name: sorted(int(path.stem) for path in folder.iterdir()) for folder in EXAMPLES.iterdir()}
    assert numbers == {name: [*range(1, len(its) + 1)] for name, its in numbers.items()}


def test_sealed_golden_examples_can_be_opened_with_the_key_in_the_documentation() -> None:
    (text,) = re.findall(r'"([\w-]{43}=)"', (CHECKOUT / "docs" / "events.md").read_text())
    sealed = [(name, each["personal"]) for name in CONTRACTS for each in golden_examples(name) if "personal" in each]
    key = urlsafe_b64decode(text)

    opened = [unseal(each, key=key, model=SEALED.get(name, AccountMail)) for name, each in sealed]

    assert [each.email for each in opened if isinstance(each, Contact | AccountMail)] == ["ada@example.com"] * 7
    exported = [each for each in opened if isinstance(each, ExportedData)]
    assert [{**each.facts, **each.lists}.keys() for each in exported] == [
        NotificationsExport.model_fields.keys(),
        OrdersExport.model_fields.keys(),
    ]


@pytest.mark.parametrize("event_type", CONTRACTS)
def test_golden_examples_of_every_version_can_be_read(event_type: str) -> None:
    for example in golden_examples(event_type):
        CONTRACTS[event_type].model_validate_json(json.dumps(example))


def test_the_last_golden_example_of_every_event_is_current() -> None:
    """A new field requires a new example: the next number in shared/events/examples/<type>/."""
    assert outdated_examples() == []


def test_a_new_optional_field_breaks_nothing() -> None:
    class Grown(Sample):
        gift_note: str = ""

    assert breaking_changes(RELEASE, {**RELEASE, **Grown.model_json_schema()}) == []


def test_a_new_optional_nested_field_breaks_nothing() -> None:
    current = deepcopy(RELEASE)
    current["$defs"]["Line"]["properties"]["colour"] = {"type": "string"}
    assert breaking_changes(RELEASE, current) == []


def test_descriptions_and_class_names_may_change() -> None:
    current = json.loads(json.dumps(RELEASE).replace("Line", "OrderLine").replace("An event with", "One with"))
    assert current != RELEASE
    assert breaking_changes(RELEASE, current) == []


def test_a_new_version_adds_an_example() -> None:
    assert breaking_changes(RELEASE, RELEASE | {"examples": [{"order_id": "1"}, {"order_id": "2"}]}) == []


BREAKS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "a removed field": ({"properties": {"amount_cents": None}}, ["the event.amount_cents: was removed"]),
    "a renamed field": (
        {"properties": {"amount_cents": None, "cents": {"type": "integer"}}, "required": ["cents"]},
        ["the event.amount_cents: was removed", "the event.cents: is now required"],
    ),
    "a retyped field": (
        {"properties": {"amount_cents": {"type": "string"}}},
        ["the event.amount_cents: type was integer, is string"],
    ),
    "a new field that is required": (
        {"properties": {"note": {"type": "string"}}, "required": ["note"]},
        ["the event.note: is now required"],
    ),
    "a narrowed field": (
        {"properties": {"amount_cents": {"maximum": 10}}},
        ["the event.amount_cents: maximum was None, is 10"],
    ),
    "a field that must not be null": (
        {"properties": {"reason": {"anyOf": [{"type": "string"}]}}},
        [
            "the event.reason: anyOf was [{'type': 'string'}, {'type': 'null'}], is [{'type': 'string'}]",
        ],
    ),
    "another unit in a nested field": (
        {"$defs": {"Line": {"properties": {"sku": {"type": "integer"}}}}},
        ["the event.lines[].sku: type was string, is integer"],
    ),
    "another format": (
        {"properties": {"order_id": {"format": "uuid"}}},
        ["the event.order_id: format was None, is uuid"],
    ),
    "rejected unknown fields": (
        {"additionalProperties": False},
        ["the event: additionalProperties was None, is False"],
    ),
    "another topic": ({"x-topic": "users"}, ["the event: x-topic was orders, is users"]),
    "another key": ({"x-key": "reason"}, ["the event: x-key was order_id, is reason"]),
    "a changed example": ({"examples": [{"order_id": "2"}]}, ["the golden example of version 1 was changed"]),
    "a lost example": ({"examples": []}, ["the golden example of version 1 was changed"]),
}


@pytest.mark.parametrize(("change", "expected"), BREAKS.values(), ids=BREAKS.keys())
def test_every_kind_of_breaking_change_is_found(change: dict[str, Any], expected: list[str]) -> None:
    assert breaking_changes(RELEASE, _changed(RELEASE, change)) == expected


def test_a_field_that_becomes_optional_breaks_consumers() -> None:
    current = {**RELEASE, "required": [name for name in RELEASE["required"] if name != "reason"]}
    assert breaking_changes(RELEASE, current) == ["the event.reason: is now optional"]


def test_an_additional_enum_value_breaks_consumers() -> None:
    old, new = ({"properties": {"reason": {"enum": values}}} for values in (["a", "b"], ["a", "b", "c"]))
    assert breaking_changes(old, new) == ["the event.reason: enum was ['a', 'b'], is ['a', 'b', 'c']"]


def test_removing_a_type_breaks_and_adding_one_does_not() -> None:
    assert broken_releases(released={"a.b": RELEASE}, current={"c.d": RELEASE}) == ["a.b: was removed"]


def test_the_file_of_a_removed_type_is_deleted(tmp_path: Path) -> None:
    write({"a.b": RELEASE, "c.d": RELEASE}, tmp_path)
    write({"c.d": RELEASE}, tmp_path)
    assert read(tmp_path) == {"c.d": RELEASE}


def _changed(schema: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """Merge a change into a schema. None removes a member, also from `required`; other required names are added."""
    merged = deepcopy(schema)
    for name, value in change.items():
        if name == "required":
            merged[name] = [*merged[name], *value]
        elif value is None:
            del merged[name]
        elif isinstance(value, dict) and isinstance(merged.get(name), dict):
            merged[name] = _changed(merged[name], value)
        else:
            merged[name] = value
    if "required" in merged and "properties" in merged:
        merged["required"] = [name for name in merged["required"] if name in merged["properties"]]
    return merged

"""The events keep what they promised: committed schemas, golden examples of every version, and the last release."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from shared.events.golden import FOLDER as EXAMPLES
from shared.events.golden import golden_examples
from tests.contracts.compatibility import breaking_changes
from tests.contracts.events import CONTRACTS
from tests.contracts.schemas import (
    COMMITTED,
    RELEASED,
    broken_promises,
    of_the_code,
    outdated_examples,
    read,
    write,
)

HOW = "run `python -m tests.contracts`, look at what changed in shared/events/schemas, and commit it"


class Line(BaseModel):
    """Part of the invented event."""

    sku: str


class Invented(BaseModel):
    """An event with a field of every kind."""

    order_id: str
    reason: str | None
    amount_cents: int
    lines: list[Line]


RELEASE: dict[str, Any] = {
    **Invented.model_json_schema(),
    "x-topic": "orders",
    "x-key": "order_id",
    "examples": [{"order_id": "1"}],
}


def test_the_committed_schemas_are_what_the_code_says() -> None:
    assert read(COMMITTED) == of_the_code(), HOW


def test_nothing_that_was_released_is_broken() -> None:
    assert broken_promises(released=read(RELEASED), present=of_the_code()) == []


def test_no_golden_example_is_of_an_unknown_event() -> None:
    assert {folder.name for folder in EXAMPLES.iterdir()} == set(CONTRACTS)


def test_golden_examples_are_numbered_without_a_gap() -> None:
    numbers = {folder.name: sorted(int(path.stem) for path in folder.iterdir()) for folder in EXAMPLES.iterdir()}
    assert numbers == {name: [*range(1, len(its) + 1)] for name, its in numbers.items()}


@pytest.mark.parametrize("event_type", CONTRACTS)
def test_the_golden_examples_of_every_version_are_read_today(event_type: str) -> None:
    for example in golden_examples(event_type):
        CONTRACTS[event_type].model_validate_json(json.dumps(example))


def test_the_newest_golden_example_of_every_event_is_what_is_sent_today() -> None:
    """A new field asks for an example of its own: the next number in shared/events/examples/<type>/."""
    assert outdated_examples() == []


def test_a_new_optional_field_breaks_nothing() -> None:
    class Grown(Invented):
        gift_note: str = ""

    assert breaking_changes(RELEASE, {**RELEASE, **Grown.model_json_schema()}) == []


def test_a_new_optional_field_deep_inside_breaks_nothing() -> None:
    present = deepcopy(RELEASE)
    present["$defs"]["Line"]["properties"]["colour"] = {"type": "string"}
    assert breaking_changes(RELEASE, present) == []


def test_words_for_people_and_the_names_of_classes_may_change() -> None:
    present = json.loads(json.dumps(RELEASE).replace("Line", "OrderLine").replace("An event with", "One with"))
    assert present != RELEASE
    assert breaking_changes(RELEASE, present) == []


def test_a_new_version_adds_an_example() -> None:
    assert breaking_changes(RELEASE, RELEASE | {"examples": [{"order_id": "1"}, {"order_id": "2"}]}) == []


BREAKS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "a removed field": ({"properties": {"amount_cents": None}}, ["the event.amount_cents: was removed"]),
    "a renamed field": (
        {"properties": {"amount_cents": None, "cents": {"type": "integer"}}, "required": ["cents"]},
        ["the event.amount_cents: was removed", "the event.cents: is required now"],
    ),
    "a retyped field": (
        {"properties": {"amount_cents": {"type": "string"}}},
        ["the event.amount_cents: type was integer, is string"],
    ),
    "a new field that is required": (
        {"properties": {"note": {"type": "string"}}, "required": ["note"]},
        ["the event.note: is required now"],
    ),
    "a narrowed field": (
        {"properties": {"amount_cents": {"maximum": 10}}},
        ["the event.amount_cents: maximum was None, is 10"],
    ),
    "a field that can't be null any more": (
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
    "unknown fields refused": ({"additionalProperties": False}, ["the event: additionalProperties was None, is False"]),
    "another topic": ({"x-topic": "users"}, ["the event: x-topic was orders, is users"]),
    "another key": ({"x-key": "reason"}, ["the event: x-key was order_id, is reason"]),
    "a changed example": ({"examples": [{"order_id": "2"}]}, ["the golden example of version 1 was changed"]),
    "a lost example": ({"examples": []}, ["the golden example of version 1 was changed"]),
}


@pytest.mark.parametrize(("change", "said"), BREAKS.values(), ids=BREAKS.keys())
def test_every_kind_of_break_is_found_and_named(change: dict[str, Any], said: list[str]) -> None:
    assert breaking_changes(RELEASE, _changed(RELEASE, change)) == said


def test_a_field_that_may_be_missing_now_breaks_its_readers() -> None:
    present = {**RELEASE, "required": [name for name in RELEASE["required"] if name != "reason"]}
    assert breaking_changes(RELEASE, present) == ["the event.reason: may be missing now"]


def test_one_more_allowed_value_breaks_readers_that_know_the_old_ones() -> None:
    old, new = ({"properties": {"reason": {"enum": values}}} for values in (["a", "b"], ["a", "b", "c"]))
    assert breaking_changes(old, new) == ["the event.reason: enum was ['a', 'b'], is ['a', 'b', 'c']"]


def test_a_type_that_is_gone_is_a_break_and_a_new_one_is_none() -> None:
    assert broken_promises(released={"a.b": RELEASE}, present={"c.d": RELEASE}) == ["a.b: was removed"]


def test_what_is_no_event_any_more_loses_its_file(tmp_path: Path) -> None:
    write({"a.b": RELEASE, "c.d": RELEASE}, tmp_path)
    write({"c.d": RELEASE}, tmp_path)
    assert read(tmp_path) == {"c.d": RELEASE}


def _changed(schema: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """Merged: None removes a member, and from `required` too; new required names are added."""
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

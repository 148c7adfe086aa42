"""Compatibility of a schema with its release. The only change allowed is a new optional field.

A wider type breaks consumers as well: one that knows two reasons cannot read an event with a third.
"""

from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]

ANNOTATIONS = {"$schema", "$id", "$defs", "title", "description", "examples"}
"""Keywords that do not affect which data is valid."""


def breaking_changes(released: Schema, current: Schema) -> list[str]:
    """Describe each change of the current schema that breaks consumers or publishers of the release."""
    old, new = (plain(schema, schema.get("$defs", {})) for schema in (released, current))
    return [*_changed_keywords(old, new, at="the event"), *_changed_examples(released, current)]


def plain(schema: Any, definitions: Schema) -> Any:
    """Return the schema without annotations and with references resolved: names of classes are not part of it."""
    if isinstance(schema, list):
        return [plain(each, definitions) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    if "$ref" in schema:
        schema = {**definitions[schema["$ref"].removeprefix("#/$defs/")], **schema}
    return {
        keyword: {name: plain(each, definitions) for name, each in value.items()}
        if keyword == "properties"
        else plain(value, definitions)
        for keyword, value in schema.items()
        if keyword not in ANNOTATIONS | {"$ref"}
    }


def _changed_keywords(old: Schema, new: Schema, *, at: str) -> Iterator[str]:
    for keyword in sorted(old.keys() | new.keys()):
        before, after = old.get(keyword), new.get(keyword)
        if keyword == "properties":
            yield from _changed_fields(old, new, at=at)
        elif keyword == "required":
            yield from _changed_required(old, new, at=at)
        elif keyword == "items" and before and after:
            yield from _changed_keywords(before, after, at=f"{at}[]")
        elif before != after:
            yield f"{at}: {keyword} was {before}, is {after}"


def _changed_fields(old: Schema, new: Schema, *, at: str) -> Iterator[str]:
    after = new.get("properties", {})
    for name, field in old.get("properties", {}).items():
        if name in after:
            yield from _changed_keywords(field, after[name], at=f"{at}.{name}")
        else:
            yield f"{at}.{name}: was removed"


def _changed_required(old: Schema, new: Schema, *, at: str) -> Iterator[str]:
    before, after = set(old.get("required", ())), set(new.get("required", ()))
    yield from (f"{at}.{name}: is now required" for name in sorted(after - before))
    kept = new.get("properties", {}).keys()
    yield from (f"{at}.{name}: is now optional" for name in sorted((before - after) & kept))


def _changed_examples(released: Schema, current: Schema) -> Iterator[str]:
    before, after = released.get("examples", []), current.get("examples", [])
    for version, example in enumerate(before, start=1):
        if after[version - 1 : version] != [example]:
            yield f"the golden example of version {version} was changed"

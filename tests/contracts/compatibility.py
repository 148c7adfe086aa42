"""Whether a schema still says what its release said. The one change allowed is a new optional field.

Widening is refused like narrowing: a reader that knows two reasons parks an event with a third.
"""

from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]

ANNOTATIONS = {"$schema", "$id", "$defs", "title", "description", "examples"}
"""Keywords that change no document's validity."""


def breaking_changes(released: Schema, present: Schema) -> list[str]:
    """One line for each; empty when whoever reads or sends by the release is served by the present schema too."""
    old, new = (_plain(schema, schema.get("$defs", {})) for schema in (released, present))
    return [*_changed_keywords(old, new, at="the event"), *_changed_examples(released, present)]


def _plain(schema: Any, definitions: Schema) -> Any:
    """Without annotations, and with what it refers to in place: to rename a class changes nothing on the wire."""
    if isinstance(schema, list):
        return [_plain(each, definitions) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    if "$ref" in schema:
        schema = {**definitions[schema["$ref"].removeprefix("#/$defs/")], **schema}
    return {
        keyword: {name: _plain(each, definitions) for name, each in value.items()}
        if keyword == "properties"
        else _plain(value, definitions)
        for keyword, value in schema.items()
        if keyword not in ANNOTATIONS | {"$ref"}
    }


def _changed_keywords(old: Schema, new: Schema, *, at: str) -> Iterator[str]:
    for keyword in sorted(old.keys() | new.keys()):
        before, after = old.get(keyword), new.get(keyword)
        if keyword == "properties":
            yield from _changed_fields(old, new, at=at)
        elif keyword == "required":
            yield from _changed_presence(old, new, at=at)
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


def _changed_presence(old: Schema, new: Schema, *, at: str) -> Iterator[str]:
    before, after = set(old.get("required", ())), set(new.get("required", ()))
    yield from (f"{at}.{name}: is required now" for name in sorted(after - before))
    kept = new.get("properties", {}).keys()
    yield from (f"{at}.{name}: may be missing now" for name in sorted((before - after) & kept))


def _changed_examples(released: Schema, present: Schema) -> Iterator[str]:
    before, after = released.get("examples", []), present.get("examples", [])
    for version, example in enumerate(before, start=1):
        if after[version - 1 : version] != [example]:
            yield f"the golden example of version {version} was changed"

"""A JSON Schema as rows for people: which fields there are, of what type, and what they mean."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Schema = Mapping[str, Any]

_FORMATS = {"date-time": "time (RFC 3339)", "uuid": "UUID"}


@dataclass(frozen=True)
class Field:
    """One field. `path` is dotted, with `[]` after a list's name."""

    path: str
    type: str
    required: bool
    description: str


def fields_of(schema: Schema, *, document: Schema, prefix: str = "") -> Iterator[Field]:
    """The fields of an object, each followed by its own; references are looked up in `document`."""
    schema = resolved(schema, document)
    for name, value in schema.get("properties", {}).items():
        yield Field(
            path=prefix + name,
            type=_type_of(value, document),
            required=name in schema.get("required", ()),
            description=value.get("description", ""),
        )
        inner, suffix = (value["items"], "[].") if "items" in value else (value, ".")
        yield from fields_of(inner, document=document, prefix=prefix + name + suffix)


def resolved(schema: Schema, document: Schema) -> Schema:
    """The schema itself, or the one that it refers to. Raises: KeyError when there is none."""
    if "$ref" not in schema:
        return schema
    target: Any = document
    for step in schema["$ref"].removeprefix("#/").split("/"):
        target = target[step]
    return resolved(target, document)


def _type_of(schema: Schema, document: Schema) -> str:
    schema = resolved(schema, document)
    if "anyOf" in schema:
        return " or ".join(_type_of(each, document) for each in schema["anyOf"])
    if "const" in schema or "enum" in schema:
        return " or ".join(f'"{value}"' for value in schema.get("enum", [schema.get("const")]))
    if "items" in schema:
        return f"list of {_type_of(schema['items'], document)}"
    return _FORMATS.get(schema.get("format", ""), str(schema["type"]))

"""A JSON Schema as table rows: the name, type and description of each field."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Schema = Mapping[str, Any]

_FORMATS = {"date-time": "timestamp (RFC 3339)", "uuid": "UUID"}


@dataclass(frozen=True)
class Field:
    """One field of a schema. `path` is dotted, with `[]` after the name of a list."""

    path: str
    type: str
    required: bool
    description: str


def fields_of(schema: Schema, *, document: Schema, prefix: str = "") -> Iterator[Field]:
    """Yield the fields of an object, nested ones after their parent. References are resolved in `document`."""
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
    """Return the schema, following its reference if it is one. Raises: KeyError for a reference to nothing."""
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

"""The forms of faults: fields from the JSON Schema of a fault's parameters, and parameters from a sent form."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deploy.local.control_protocol import FaultDescription


@dataclass(frozen=True)
class Field:
    """An input of a fault's form."""

    name: str
    choices: list[str]
    """The values to choose from; empty for a number."""
    default: str
    minimum: float | None
    maximum: float | None


def fields_of(fault: FaultDescription) -> list[Field]:
    """Return the inputs for a fault's parameters."""
    return [_field(name, schema) for name, schema in fault.parameters.get("properties", {}).items()]


def parameters_of(fault: FaultDescription, form: Mapping[str, str]) -> dict[str, Any]:
    """Return the parameters that a form has sent. Fields that are left empty keep their defaults."""
    schemas: Mapping[str, Any] = fault.parameters.get("properties", {})
    return {name: _value(schemas[name], text) for name, text in form.items() if name in schemas and text.strip() != ""}


def _field(name: str, schema: Mapping[str, Any]) -> Field:
    return Field(
        name=name,
        choices=[str(value) for value in schema.get("enum", [])],
        default=str(schema.get("default", "")),
        minimum=schema.get("minimum", schema.get("exclusiveMinimum")),
        maximum=schema.get("maximum"),
    )


def _value(schema: Mapping[str, Any], text: str) -> Any:
    """Return the value of a field. A number that cannot be read stays text, which the supervisor refuses by name."""
    try:
        return {"integer": int, "number": float}.get(schema.get("type", ""), str)(text)
    except ValueError:
        return text

"""The types of JSON in Pydantic: what a request body takes is what its JSON Schema says.

Pydantic's strict mode is for Python values: it takes no text for an id or a time, and no list for a tuple. Its other
mode takes too much, such as 0 for false. So the schema that Pydantic makes of a class is adapted, wherever one of these
types is in it.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, cast
from uuid import UUID

from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from shared.http.spellings import SPELLINGS, in_utc

Json = dict[str, Any]
Adapt = Callable[[Json], CoreSchema]
Resolve = Callable[[CoreSchema], CoreSchema]

WITHOUT_NUL = r"^[^\x00]*$"
"""The pattern of text that PostgreSQL can store."""
_DONE = "orderly_as_in_json"
_NO_SCHEMAS = frozenset({"metadata", "serialization", "default", "expected", "function", "config", "cls", "members"})


def as_in_json(schema: CoreSchema, *, resolve: Resolve) -> CoreSchema:
    """Let the schema of a body take exactly what JSON Schema says that it takes.

    `resolve` returns the definition that a schema refers to. Nested bodies are adapted by themselves.
    """
    return cast("CoreSchema", _adapted(schema, resolve))


def _adapted(schema: Any, resolve: Resolve) -> Any:
    if isinstance(schema, list):
        return [_adapted(each, resolve) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    if not isinstance(schema.get("type"), str):  # the schemas of a model's fields by their names
        return {name: _adapted(value, resolve) for name, value in schema.items()}
    if _is_settled(schema):
        return schema
    if schema["type"] == "definition-ref":
        definition = resolve(cast("CoreSchema", schema))
        if definition["type"] == "enum":
            cast("Json", definition)["strict"] = False  # in place: others refer to the definition too
        return schema
    within = {name: value if name in _NO_SCHEMAS else _adapted(value, resolve) for name, value in schema.items()}
    adapt = _ADAPTERS.get(schema["type"])
    return adapt(within) if adapt else within


def _is_settled(schema: Mapping[str, Any]) -> bool:
    """Return whether this was done before, in a nested body, or the type is one with a JSON Schema of its own."""
    metadata = schema.get("metadata") or {}
    has_own = schema["type"] not in {"model", "enum"} and "pydantic_js_functions" in metadata
    return has_own or _DONE in metadata


def _done(schema: Json, **changes: object) -> CoreSchema:
    return cast("CoreSchema", {**schema, **changes, "metadata": {**(schema.get("metadata") or {}), _DONE: True}})


def _wrapped(
    schema: CoreSchema, *, before: Callable[[Any], Any], after: Callable[[Any], Any] | None = None
) -> CoreSchema:
    inner = cast("Json", schema)
    ref = inner.pop("ref", None)
    if after is not None:
        schema = core_schema.no_info_after_validator_function(after, schema)
    return core_schema.no_info_before_validator_function(before, schema, ref=ref, metadata={_DONE: True})


def _integer(schema: Json) -> CoreSchema:
    def integral(value: object) -> object:
        return int(value) if isinstance(value, float) and value.is_integer() else value

    return _wrapped(_done(schema, strict=True), before=integral)


def _spelled(kind: type, *, after: Callable[[Any], Any] | None = None) -> Adapt:
    spelling = SPELLINGS[kind]

    def check(value: object) -> object:
        if isinstance(value, kind) or (isinstance(value, str) and spelling.fits(value)):
            return value
        raise PydanticCustomError(spelling.code, spelling.message)

    def adapt(schema: Json) -> CoreSchema:
        return _wrapped(_done(schema, strict=False), before=check, after=after)

    return adapt


def _text(schema: Json) -> CoreSchema:
    return _done(schema) if "pattern" in schema else _done(schema, pattern=WITHOUT_NUL)


def _not_strict(schema: Json) -> CoreSchema:
    return _done(schema, strict=False)


def _aware_in_utc(time: datetime) -> datetime:
    return time if time.tzinfo is None else in_utc(time)


_ADAPTERS: Mapping[str, Adapt] = {
    "int": _integer,
    "str": _text,
    "uuid": _spelled(UUID),
    "datetime": _spelled(datetime, after=_aware_in_utc),
    **dict.fromkeys(("enum", "tuple", "set", "frozenset"), _not_strict),
}

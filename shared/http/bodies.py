"""Base classes of the request and response bodies of all services."""

from typing import Any

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema

from shared.http.strict_json import as_in_json


class RequestBody(BaseModel):
    """A request body: its members have exactly the types and bounds of its JSON Schema. Unknown members are errors.

    An integer may be sent as `6.0`, as JSON Schema has it, but not as text or a boolean. Ids and times have the one
    spelling of their format. Text without a pattern gets the one that excludes NUL.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler, /) -> CoreSchema:
        return as_in_json(handler(source), resolve=handler.resolve_ref_schema)


class ResponseBody(BaseModel):
    """A response body, made of any object that has its attributes, such as a row."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

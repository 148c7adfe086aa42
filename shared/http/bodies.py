"""Base classes of the request and response bodies of all services."""

from pydantic import BaseModel, ConfigDict


class RequestBody(BaseModel):
    """A request body. Values of another type and unknown members are errors."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class ResponseBody(BaseModel):
    """A response body, made of any object that has its attributes, such as a row."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

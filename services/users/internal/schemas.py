"""Request and response bodies of the internal routes."""

from typing import Annotated
from uuid import UUID

from pydantic import Field

from shared.http.bodies import RequestBody, ResponseBody

MAX_KEYS = 1_000
"""Users whose keys one request may ask for."""


class PersonalKeysQuery(RequestBody):
    """The users whose keys are wanted."""

    user_ids: Annotated[list[Annotated[UUID, Field(strict=False)]], Field(max_length=MAX_KEYS)]


class PersonalKeysView(ResponseBody):
    """The keys by user id, in Base64 with the alphabet for URLs. Users that are unknown or erased have none."""

    keys: dict[UUID, str]

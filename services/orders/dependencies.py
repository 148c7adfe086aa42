"""Who calls, in the words of orders: what routes ask of the application and of the request."""

from typing import Annotated

from fastapi import Depends, Header, Request, Response
from fastapi.security import HTTPAuthorizationCredentials
from pydantic import BaseModel

from services.orders.models import Actor
from services.orders.settings import Settings
from shared.http.auth import Caller, bearer, current_caller, require_role
from shared.http.etags import etag_of, expected_version
from shared.http.tokens import Principal

STAFF = frozenset({"support", "admin"})

staff_only = require_role(*STAFF)
admin_only = require_role("admin")


def actor_of(caller: Principal) -> Actor:
    return Actor(user_id=caller.user_id, is_staff=not STAFF.isdisjoint(caller.roles))


async def _current_actor(caller: Caller) -> Actor:
    return actor_of(caller)


async def _current_staff(caller: Annotated[Principal, Depends(staff_only)]) -> Actor:
    return actor_of(caller)


async def _is_staff(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
) -> bool:
    """On a route for everybody: a token is not asked for, but one that is sent must be good."""
    return credentials is not None and actor_of(await current_caller(request, credentials)).is_staff


async def _expected_version_if_any(
    if_match: Annotated[
        str | None, Header(description="If given, nothing changes unless this ETag is still the present one.")
    ] = None,
) -> int | None:
    return None if if_match is None else await expected_version(if_match)


async def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


CurrentActor = Annotated[Actor, Depends(_current_actor)]
StaffActor = Annotated[Actor, Depends(_current_staff)]
IsStaff = Annotated[bool, Depends(_is_staff)]
OptionalIfMatch = Annotated[int | None, Depends(_expected_version_if_any)]
SettingsDep = Annotated[Settings, Depends(_settings)]


def created(body: BaseModel, *, location: str, version: int) -> Response:
    """201, as an idempotent POST saves it."""
    return Response(
        body.model_dump_json(),
        status_code=201,
        headers={"Location": location, "ETag": etag_of(version)},
        media_type="application/json",
    )


def is_repeat(response: Response) -> bool:
    """Whether this is the saved answer of an earlier request with the same key."""
    return "idempotency-replayed" in response.headers

"""Dependencies of routes: who calls, as an actor of orders, and what the application provides."""

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials

from services.orders.models import Actor
from services.orders.settings import Settings
from shared.http.auth import Caller, bearer, current_caller, is_staff, staff_only
from shared.http.tokens import Principal


def actor_of(caller: Principal) -> Actor:
    """Return the actor that a caller is to orders."""
    return Actor(user_id=caller.user_id, is_staff=is_staff(caller))


async def _current_actor(caller: Caller) -> Actor:
    return actor_of(caller)


async def _current_staff(caller: Annotated[Principal, Depends(staff_only)]) -> Actor:
    return actor_of(caller)


async def _is_staff(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
) -> bool:
    """Return whether a public route is called by staff. No token is required, but one that is sent must be valid."""
    return credentials is not None and is_staff(await current_caller(request, credentials))


async def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


CurrentActor = Annotated[Actor, Depends(_current_actor)]
StaffActor = Annotated[Actor, Depends(_current_staff)]
IsStaff = Annotated[bool, Depends(_is_staff)]
SettingsDep = Annotated[Settings, Depends(_settings)]

"""Dependencies of routes."""

from typing import Annotated

from fastapi import Depends

from shared.http.auth import Caller

STAFF = frozenset({"support", "admin"})


async def _is_staff(caller: Caller) -> bool:
    return not STAFF.isdisjoint(caller.roles)


IsStaff = Annotated[bool, Depends(_is_staff)]

"""Dependencies of routes."""

from typing import Annotated

from fastapi import Depends

from shared.http.auth import Caller, is_staff


async def _is_staff(caller: Caller) -> bool:
    return is_staff(caller)


IsStaff = Annotated[bool, Depends(_is_staff)]

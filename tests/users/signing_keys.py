"""Rotating and withdrawing signing keys, and the states that follow."""

from datetime import timedelta

from joserfc import jws

from services.users.sessions.signing_keys import NewKey, keys_newest_first, rotate, withdraw
from tests.users.service import UsersService


async def states(service: UsersService) -> dict[str, str]:
    """Return the state of each key."""
    async with service.sessions() as session:
        return {key.kid: key.state for key in await keys_newest_first(session)}


async def rotated(service: UsersService, *, overlap: timedelta) -> NewKey:
    """Rotate, and return the new key."""
    async with service.sessions.begin() as session:
        return await rotate(session, encryption=service.app.state.encryption, overlap=overlap, actor="ada@ops")


async def withdrawn(service: UsersService, kid: str) -> NewKey | None:
    """Withdraw a key, and return the one that replaces it."""
    async with service.sessions.begin() as session:
        return await withdraw(session, encryption=service.app.state.encryption, kid=kid, actor="ada@ops")


def kid_of(token: str) -> str:
    """Return the id of the key that signed a token."""
    return str(jws.extract_compact(token.encode()).headers()["kid"])

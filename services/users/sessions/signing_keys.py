"""The keys that sign access tokens: rows of the database, known to every process of the service."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc.jwk import OKPKey
from joserfc.util import urlsafe_b64encode
from pydantic import JsonValue
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from services.users.encryption import Encryption
from services.users.models.sessions import SigningKey
from services.users.security_record.commands import append
from shared.errors import Conflict, NotFound
from shared.http.token_keys import CURVE
from shared.statements import count_deleted

WITHDRAWN_RETENTION = timedelta(days=1)
"""Time for which the other services are told of a withdrawn key; longer than any of its tokens is valid."""

KeyState = Literal["published", "signing", "verifying", "withdrawn"]


class SigningKeyNotFound(NotFound):
    """There is no such signing key."""

    code = "signing_key_not_found"


class RotationInProgress(Conflict):
    """The key of the last rotation has not signed yet."""

    code = "rotation_in_progress"


@dataclass(frozen=True)
class NewKey:
    """A key that was made, and the time from which it signs."""

    kid: str
    signs_from: datetime


@dataclass(frozen=True)
class ListedKey:
    """A key and what it is used for now."""

    kid: str
    state: KeyState
    created_at: datetime
    signs_from: datetime
    withdrawn_at: datetime | None


async def keys_newest_first(session: AsyncSession) -> list[ListedKey]:
    """Return all keys that the database still has, with the one that signs, or will sign, first."""
    now = await session.scalar(sa.select(sa.func.clock_timestamp()))
    rows = await session.scalars(sa.select(SigningKey).order_by(SigningKey.signs_from.desc(), SigningKey.kid))
    listed: list[ListedKey] = []
    for row in rows:
        if row.withdrawn_at is not None:
            state: KeyState = "withdrawn"
        elif now is not None and row.signs_from > now:
            state = "published"
        else:
            state = "verifying" if any(key.state == "signing" for key in listed) else "signing"
        listed.append(ListedKey(row.kid, state, row.created_at, row.signs_from, row.withdrawn_at))
    return listed


async def ensure_signing_key(session: AsyncSession, *, encryption: Encryption) -> None:
    """Make a key if none signs. Of processes that do so at once, one makes it."""
    await _lock(session)
    if not any(key.state == "signing" for key in await keys_newest_first(session)):
        await _create(session, encryption=encryption, signs_in=timedelta(0))


async def rotate(session: AsyncSession, *, encryption: Encryption, overlap: timedelta, actor: str) -> NewKey:
    """Publish a new key that signs after `overlap`, and then takes the place of the present one.

    Without an overlap it signs at once, also in the place of a key that has only been published. Raises:
    RotationInProgress if there is such a key, and an overlap.
    """
    await _lock(session)
    waiting = [key for key in await keys_newest_first(session) if key.state == "published"]
    if waiting and overlap:
        raise RotationInProgress(
            f"The key {waiting[0].kid} of the last rotation signs from {waiting[0].signs_from:%Y-%m-%d %H:%M:%S} UTC."
        )
    await session.execute(sa.delete(SigningKey).where(SigningKey.kid.in_([key.kid for key in waiting])))
    new = await _create(session, encryption=encryption, signs_in=overlap)
    await append(session, "signing_keys_rotated", user_id=None, actor=actor, details={"new_key": new.kid})
    return new


async def withdraw(session: AsyncSession, *, encryption: Encryption, kid: str, actor: str) -> NewKey | None:
    """Withdraw a stolen key, so that its tokens are refused. If it signs now, make another, and return that one.

    The private key is deleted. Repeating it changes nothing. Raises: SigningKeyNotFound.
    """
    await _lock(session)
    keys = {key.kid: key for key in await keys_newest_first(session)}
    if kid not in keys:
        raise SigningKeyNotFound
    if keys[kid].state == "withdrawn":
        return None
    await session.execute(
        sa.update(SigningKey)
        .where(SigningKey.kid == kid)
        .values(withdrawn_at=sa.func.clock_timestamp(), private_key=None)
    )
    is_signing = keys[kid].state == "signing"
    new = await _create(session, encryption=encryption, signs_in=timedelta(0)) if is_signing else None
    details: dict[str, JsonValue] = {"withdrawn_key": kid, "new_key": new.kid if new else None}
    await append(session, "signing_keys_rotated", user_id=None, actor=actor, details=details)
    return new


async def purge_old_keys(session: AsyncSession, *, verified_for: timedelta) -> int:
    """Delete the keys whose successor has signed for `verified_for`, and those withdrawn long ago; return how many."""
    now, key, newer = sa.func.now(), SigningKey, aliased(SigningKey)
    is_expired = sa.exists().where(
        newer.withdrawn_at.is_(None), newer.signs_from > key.signs_from, newer.signs_from < now - verified_for
    )
    withdrawn_long_ago = key.withdrawn_at < now - WITHDRAWN_RETENTION
    no_longer_needed = sa.or_(sa.and_(key.withdrawn_at.is_(None), is_expired), withdrawn_long_ago)
    return await count_deleted(session, sa.delete(key).where(no_longer_needed))


async def _create(session: AsyncSession, *, encryption: Encryption, signs_in: timedelta) -> NewKey:
    kid, key = generate_key()
    signs_from = await session.scalar(
        sa.insert(SigningKey)
        .values(
            kid=kid,
            private_key=encryption.encrypt(key.private_bytes_raw()),
            public_key=key.public_key().public_bytes_raw(),
            signs_from=sa.func.clock_timestamp() + signs_in,
        )
        .returning(SigningKey.signs_from)
    )
    assert signs_from is not None  # noqa: S101 - the statement returns the row that it inserts
    return NewKey(kid, signs_from)


def generate_key() -> tuple[str, Ed25519PrivateKey]:
    """Return a new key and its id, the thumbprint (RFC 7638).

    No id begins with a hyphen, which one in 64 thumbprints does: `keys withdraw` would read it as an option.
    """
    while True:
        key = Ed25519PrivateKey.generate()
        kid = OKPKey.import_key(jwk_of(key.public_key().public_bytes_raw())).thumbprint()
        if not kid.startswith("-"):
            return kid, key


async def _lock(session: AsyncSession) -> None:
    """Let one transaction at a time change keys. Reading them does not wait."""
    await session.execute(sa.text("LOCK TABLE signing_key IN SHARE ROW EXCLUSIVE MODE"))


def jwk_of(public_key: bytes, private_key: bytes | None = None) -> dict[str, str | list[str]]:
    """Return a key as a JWK (RFC 8037)."""
    private = {} if private_key is None else {"d": urlsafe_b64encode(private_key).decode()}
    return {"kty": "OKP", "crv": CURVE, "x": urlsafe_b64encode(public_key).decode(), **private}

"""The signing keys as a process knows them: read from the database when they are used, and kept while it is away."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
import structlog
from joserfc.jwk import KeySet, OKPKey
from sqlalchemy.ext.asyncio import AsyncSession

from services.users.encryption import Encryption, SecretUnreadable
from services.users.models.sessions import SigningKey
from services.users.sessions.signing_keys import ensure_signing_key, jwk_of
from shared.database import Sessions
from shared.error_descriptions import describe_error
from shared.health import Unhealthy
from shared.http.token_keys import ALGORITHM
from shared.transient_errors import is_database_unavailable

logger = structlog.get_logger(__name__)

MAX_AGE_SECONDS = 1.0
"""Time for which a process uses the keys that it has read, and so does not know of a rotation or a withdrawal."""


class SigningKeyUnreadable(Exception):
    """No key of USERS_ENCRYPTION_KEYS_FILE decrypts the signing key."""


@dataclass(frozen=True)
class _Known:
    signing: OKPKey
    published: Sequence[OKPKey]


class KeyRing:
    """The keys of one process. It reads them at most once a second, and only when they are used."""

    def __init__(self, sessions: Callable[[], Sessions], *, encryption: Encryption) -> None:
        self._sessions = sessions
        self._encryption = encryption
        self._known: _Known | None = None
        self._fresh_until = 0.0
        self._reading = asyncio.Lock()

    async def signing_key(self) -> OKPKey:
        """Return the key that signs now. Raises: SigningKeyUnreadable, errors of the database."""
        return (await self._refreshed()).signing

    async def published_keys(self) -> Sequence[OKPKey]:
        """Return the public keys that verify tokens. Raises: SigningKeyUnreadable, errors of the database."""
        return (await self._refreshed()).published

    async def key_set(self) -> KeySet:
        """Return the public keys. A KeySource of this service's own verifier."""
        return KeySet(list(await self.published_keys()))

    async def check(self) -> None:
        """Check that there is a key to sign with. Raises: Unhealthy."""
        try:
            await self._refreshed()
        except SigningKeyUnreadable:
            raise Unhealthy("the signing key cannot be decrypted") from None

    async def _refreshed(self) -> _Known:
        if self._known is not None and (time.monotonic() < self._fresh_until or self._reading.locked()):
            return self._known
        async with self._reading:
            if self._known is None or time.monotonic() >= self._fresh_until:
                self._known = await self._read_or_keep()
                self._fresh_until = time.monotonic() + MAX_AGE_SECONDS
        return self._known

    async def _read_or_keep(self) -> _Known:
        try:
            return await self._read()
        except Exception as error:
            if self._known is None or not is_database_unavailable(error):
                raise
            logger.warning("signing_keys_not_read", error=describe_error(error))
            return self._known

    async def _read(self) -> _Known:
        async with self._sessions()() as session:
            rows, signing = await _usable_keys(session)
        if signing is None:
            # The first key of a new system, or the last one was deleted by hand.
            async with self._sessions().begin() as session:
                await ensure_signing_key(session, encryption=self._encryption)
                rows, signing = await _usable_keys(session)
        assert signing is not None  # noqa: S101 - it has just been made
        return _Known(self._signing_key_of(signing), [_public_key_of(row) for row in rows])

    def _signing_key_of(self, row: SigningKey) -> OKPKey:
        if self._known is not None and self._known.signing.kid == row.kid:
            return self._known.signing
        try:
            private_key = self._encryption.decrypt(row.private_key or "")
        except SecretUnreadable:
            raise SigningKeyUnreadable(row.kid) from None
        return OKPKey.import_key({**jwk_of(row.public_key, private_key), "kid": row.kid})


async def _usable_keys(session: AsyncSession) -> tuple[Sequence[SigningKey], SigningKey | None]:
    """Return the keys that are not withdrawn, and the one that signs by the clock of the database."""
    query = (
        sa.select(SigningKey, SigningKey.signs_from <= sa.func.clock_timestamp())
        .where(SigningKey.withdrawn_at.is_(None))
        .order_by(SigningKey.signs_from.desc(), SigningKey.kid)
    )
    found = (await session.execute(query)).all()
    return [row for row, _ in found], next((row for row, signs in found if signs), None)


def _public_key_of(row: SigningKey) -> OKPKey:
    return OKPKey.import_key({**jwk_of(row.public_key), "kid": row.kid, "use": "sig", "alg": ALGORITHM})

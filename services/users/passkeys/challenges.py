"""Challenges of WebAuthn: random, stored hashed, answered once."""

import hashlib
import secrets
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from services.users.models.second_factors import PasskeyChallenge
from services.users.passkeys.relying_party import CHALLENGE_LIFETIME
from shared.statements import count_deleted, delete_older

_BYTES = 32


async def create_passkey_challenge(session: AsyncSession, *, user_id: UUID | None) -> bytes:
    """Create a challenge and return it: for the account that registers a passkey, or for any passkey."""
    challenge = secrets.token_bytes(_BYTES)
    await session.execute(
        sa.insert(PasskeyChallenge).values(
            challenge_hash=_hash_of(challenge), user_id=user_id, expires_at=sa.func.now() + CHALLENGE_LIFETIME
        )
    )
    return challenge


async def take_passkey_challenge(session: AsyncSession, *, challenge: bytes, user_id: UUID | None) -> bool:
    """Delete a challenge, and return whether it was valid. Of two simultaneous answers, one gets True."""
    valid = (
        PasskeyChallenge.challenge_hash == _hash_of(challenge),
        PasskeyChallenge.user_id.is_not_distinct_from(user_id),
        PasskeyChallenge.expires_at > sa.func.now(),
    )
    return await count_deleted(session, sa.delete(PasskeyChallenge).where(*valid)) > 0


async def purge_expired_passkey_challenges(session: AsyncSession, *, limit: int) -> int:
    """Delete at most `limit` expired challenges, and return how many."""
    return await delete_older(
        session, PasskeyChallenge.challenge_hash, time=PasskeyChallenge.expires_at, than=sa.func.now(), limit=limit
    )


def _hash_of(challenge: bytes) -> bytes:
    return hashlib.sha256(challenge).digest()

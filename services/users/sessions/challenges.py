"""Sign-in challenges: a sign-in whose password was right waits for the second factor."""

import hashlib
import secrets
from datetime import timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from services.users.models.accounts import UserAccount
from services.users.models.sessions import SignInChallenge
from shared.errors import Unauthenticated
from shared.statements import count_deleted

LIFETIME = timedelta(minutes=5)
MAX_ATTEMPTS = 5
"""Answers to one challenge. Then the password is needed again."""


class ChallengeInvalid(Unauthenticated):
    """The challenge is unknown, expired or used up. Sign in again."""

    code = "challenge_invalid"


async def create_challenge(session: AsyncSession, *, user_id: UUID) -> str:
    """Create a challenge for an account whose password was right, and return it. Only its hash is stored."""
    challenge = secrets.token_urlsafe(32)
    await session.execute(
        sa.insert(SignInChallenge).values(
            challenge_hash=_hash_of(challenge), user_id=user_id, attempts=0, expires_at=sa.func.now() + LIFETIME
        )
    )
    return challenge


async def take_challenge(session: AsyncSession, *, challenge: str) -> UserAccount:
    """Lock a challenge, count an attempt at it, and return its account. Raises: ChallengeInvalid.

    The caller must commit the attempt too, before it responds with an error.
    """
    user_id = await session.scalar(
        sa.update(SignInChallenge)
        .where(
            SignInChallenge.challenge_hash == _hash_of(challenge),
            SignInChallenge.expires_at > sa.func.now(),
            SignInChallenge.attempts < MAX_ATTEMPTS,
        )
        .values(attempts=SignInChallenge.attempts + 1)
        .returning(SignInChallenge.user_id)
    )
    if user_id is None:
        raise ChallengeInvalid
    return await session.get_one(UserAccount, user_id)


async def end_challenge(session: AsyncSession, *, challenge: str) -> None:
    """Delete a challenge that was answered."""
    await session.execute(sa.delete(SignInChallenge).where(SignInChallenge.challenge_hash == _hash_of(challenge)))


async def purge_expired_challenges(session: AsyncSession, *, limit: int) -> int:
    """Delete at most `limit` expired challenges, and return how many."""
    expired = (
        sa.select(SignInChallenge.challenge_hash)
        .where(SignInChallenge.expires_at < sa.func.now())
        .order_by(SignInChallenge.expires_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return await count_deleted(session, sa.delete(SignInChallenge).where(SignInChallenge.challenge_hash.in_(expired)))


def _hash_of(challenge: str) -> bytes:
    return hashlib.sha256(challenge.encode()).digest()

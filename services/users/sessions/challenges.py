"""Challenges: a sign-in whose password was right waits for the second factor, for five minutes at most."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from services.users.models.accounts import UserAccount
from services.users.models.sessions import AuthenticationMethod, SignInChallenge
from services.users.secret_tokens import hash_of, new_token
from shared.errors import Unauthenticated
from shared.statements import delete_older

LIFETIME = timedelta(minutes=5)
MAX_ATTEMPTS = 5
"""Answers to one challenge, right or wrong. Then the password is asked for again."""


class SecondFactorRequired(Unauthenticated):
    """The password is right, and a second factor is required."""

    code = "second_factor_required"

    def __init__(self, *, challenge: str, methods: Sequence[AuthenticationMethod]) -> None:
        """Name the challenge, and the methods that answer it."""
        super().__init__(extra={"challenge": challenge, "methods": list(methods)})


class ChallengeInvalid(Unauthenticated):
    """The challenge is unknown, has expired or was answered too often. Sign in again."""

    code = "challenge_invalid"


async def create_challenge(session: AsyncSession, *, user_id: UUID, methods: Sequence[AuthenticationMethod]) -> str:
    """Create a challenge for an account that has authenticated by `methods` so far, and return it."""
    challenge = new_token()
    await session.execute(
        sa.insert(SignInChallenge).values(
            token_hash=challenge.token_hash,
            user_id=user_id,
            amr=list(methods),
            expires_at=sa.func.now() + LIFETIME,
        )
    )
    return challenge.token


async def take_challenge(session: AsyncSession, *, challenge: str) -> UserAccount:
    """Count an answer to a challenge, lock it until the transaction ends, and return its account.

    Commit also if the answer is wrong, or its attempt would not count. Raises: ChallengeInvalid.
    """
    user_id = await session.scalar(
        sa.update(SignInChallenge)
        .where(
            SignInChallenge.token_hash == hash_of(challenge),
            SignInChallenge.expires_at > sa.func.now(),
            SignInChallenge.attempts < MAX_ATTEMPTS,
        )
        .values(attempts=SignInChallenge.attempts + 1)
        .returning(SignInChallenge.user_id)
        .execution_options(synchronize_session=False)
    )
    if user_id is None:
        raise ChallengeInvalid
    return await session.get_one(UserAccount, user_id)


async def end_challenge(session: AsyncSession, *, challenge: str) -> list[AuthenticationMethod]:
    """Delete a challenge that was answered rightly, in the transaction that starts the session.

    Return the methods so far. Raises: ChallengeInvalid if it is gone, so that a challenge starts one session at most.
    """
    methods = await session.scalar(
        sa.delete(SignInChallenge)
        .where(SignInChallenge.token_hash == hash_of(challenge))
        .returning(SignInChallenge.amr)
        .execution_options(synchronize_session=False)
    )
    if methods is None:
        raise ChallengeInvalid
    return list(methods)


async def purge_expired_challenges(session: AsyncSession, *, limit: int) -> int:
    """Delete at most `limit` expired challenges, and return how many."""
    return await delete_older(
        session, SignInChallenge.token_hash, time=SignInChallenge.expires_at, than=sa.func.now(), limit=limit
    )

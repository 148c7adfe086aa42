"""Commands of sessions: start, refresh, revoke, purge."""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import sqlalchemy as sa
from pydantic import JsonValue
from sqlalchemy.ext.asyncio import AsyncSession

from services.users.models.accounts import UserAccount
from services.users.models.sessions import AuthenticationMethod, RefreshToken, UserSession
from services.users.security_record.commands import Origin, append
from shared.errors import Forbidden, NotFound, Unauthenticated
from shared.ids import new_id
from shared.statements import count_deleted


class AccountInactive(Forbidden):
    """The account is not active."""

    code = "account_inactive"


class RefreshTokenInvalid(Unauthenticated):
    """The refresh token is unknown or has expired, or its session has ended."""

    code = "refresh_token_invalid"


class SessionNotFound(NotFound):
    """There is no such session."""

    code = "session_not_found"


@dataclass(frozen=True)
class Grant:
    """A session and its next refresh token. This is the only place that has the token in plain text."""

    account: UserAccount
    session_id: UUID
    refresh_token: str


@dataclass(frozen=True)
class FamilyRevoked:
    """A used refresh token was presented, so one of its two holders stole it. The session was revoked for both."""

    session_id: UUID
    user_id: UUID


async def start_session(
    session: AsyncSession,
    *,
    account: UserAccount,
    origin: Origin,
    methods: Sequence[AuthenticationMethod],
    lifetime: timedelta,
) -> Grant:
    """Start a session of an account that has authenticated by `methods`. Raises: AccountInactive."""
    if account.status != "active":
        raise AccountInactive
    session_id = new_id()
    await session.execute(
        sa.insert(UserSession).values(
            id=session_id,
            user_id=account.id,
            user_agent=origin.user_agent,
            amr=list(methods),
            expires_at=sa.func.now() + lifetime,
        )
    )
    details: dict[str, JsonValue] = {"session_id": str(session_id), "methods": list(methods)}
    await append(session, "signed_in", user_id=account.id, actor=account.id, origin=origin, details=details)
    return Grant(account, session_id, await _new_token(session, session_id=session_id, lifetime=lifetime))


async def refresh_session(session: AsyncSession, *, refresh_token: str, lifetime: timedelta) -> Grant | FamilyRevoked:
    """Exchange a refresh token for the next one. Locks the session.

    The caller must commit FamilyRevoked too, before it responds with an error. Raises: RefreshTokenInvalid.
    """
    token_hash = _hash_of(refresh_token)
    session_id = await session.scalar(sa.select(RefreshToken.session_id).where(RefreshToken.token_hash == token_hash))
    family = await _lock_session(session, session_id) if session_id else None
    # Read it only now: a request with the same token may have held the lock and used the token.
    token = await session.scalar(
        sa.select(RefreshToken).where(RefreshToken.token_hash == token_hash, RefreshToken.expires_at > sa.func.now())
    )
    if family is None or token is None:
        raise RefreshTokenInvalid
    if token.used_at is not None:
        await _revoke(session, family.id)
        return FamilyRevoked(family.id, family.user_id)
    account = await session.get_one(UserAccount, family.user_id)
    if family.revoked_at is not None or account.status != "active":
        raise RefreshTokenInvalid
    await _mark_used(session, token, lifetime=lifetime)
    return Grant(account, family.id, await _new_token(session, session_id=family.id, lifetime=lifetime))


async def revoke_session(session: AsyncSession, *, session_id: UUID, user_id: UUID) -> None:
    """End one of a user's sessions. Its access token works until it expires. Raises: SessionNotFound."""
    family = await _lock_session(session, session_id)
    if family is None or family.user_id != user_id or family.revoked_at is not None:
        raise SessionNotFound
    await _revoke(session, session_id)


async def purge_expired_sessions(session: AsyncSession, *, limit: int) -> int:
    """Delete at most `limit` expired sessions with their refresh tokens, and return how many sessions."""
    expired = (
        sa.select(UserSession.id)
        .where(UserSession.expires_at < sa.func.now())
        .order_by(UserSession.expires_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return await count_deleted(session, sa.delete(UserSession).where(UserSession.id.in_(expired)))


async def purge_expired_tokens(session: AsyncSession, *, limit: int) -> int:
    """Delete at most `limit` expired refresh tokens of sessions that are still open, and return how many."""
    expired = (
        sa.select(RefreshToken.token_hash)
        .where(RefreshToken.expires_at < sa.func.now())
        .order_by(RefreshToken.expires_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return await count_deleted(session, sa.delete(RefreshToken).where(RefreshToken.token_hash.in_(expired)))


async def _lock_session(session: AsyncSession, session_id: UUID) -> UserSession | None:
    return await session.scalar(
        sa.select(UserSession)
        .where(UserSession.id == session_id, UserSession.expires_at > sa.func.now())
        .with_for_update()
        .execution_options(populate_existing=True)
    )


async def _new_token(session: AsyncSession, *, session_id: UUID, lifetime: timedelta) -> str:
    refresh_token = secrets.token_urlsafe(32)
    await session.execute(
        sa.insert(RefreshToken).values(
            token_hash=_hash_of(refresh_token), session_id=session_id, expires_at=sa.func.now() + lifetime
        )
    )
    return refresh_token


async def _mark_used(session: AsyncSession, token: RefreshToken, *, lifetime: timedelta) -> None:
    now = sa.func.now()
    await session.execute(
        sa.update(RefreshToken).where(RefreshToken.token_hash == token.token_hash).values(used_at=now)
    )
    await session.execute(
        sa.update(UserSession)
        .where(UserSession.id == token.session_id)
        .values(last_used_at=now, expires_at=now + lifetime)
    )


async def _revoke(session: AsyncSession, session_id: UUID) -> None:
    await session.execute(
        sa.update(UserSession)
        .where(UserSession.id == session_id, UserSession.revoked_at.is_(None))
        .values(revoked_at=sa.func.now())
    )


def _hash_of(refresh_token: str) -> bytes:
    # SHA-256 without a salt is enough: 256 random bits can't be guessed.
    return hashlib.sha256(refresh_token.encode()).digest()

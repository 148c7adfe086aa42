"""Ending sessions: revoking them, so that every service refuses their access tokens, and purging the expired ones."""

from contextlib import suppress
from datetime import timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from services.users.models.sessions import RefreshToken, RevokedSession, SignInChallenge, UserSession
from services.users.secret_tokens import hash_of
from services.users.security_record.commands import Origin, append
from shared.errors import NotFound
from shared.http.auth import Permit
from shared.statements import delete_older

# One statement, so that no session is revoked without the other services learning of it. In the order of ids: two
# transactions that revoke the same sessions must not lock them in opposite orders.
_REVOKE = sa.text("""
    WITH open AS (
        SELECT id FROM user_session WHERE id = ANY(:ids) AND revoked_at IS NULL ORDER BY id FOR UPDATE
    ), revoked AS (
        UPDATE user_session s SET revoked_at = clock_timestamp() FROM open WHERE s.id = open.id RETURNING s.id
    )
    INSERT INTO revoked_session (session_id) SELECT id FROM revoked ON CONFLICT DO NOTHING RETURNING session_id
""").bindparams(sa.bindparam("ids", type_=sa.ARRAY(sa.Uuid())))


class SessionNotFound(NotFound):
    """There is no such session."""

    code = "session_not_found"


async def revoke_session(
    session: AsyncSession, *, session_id: UUID, permit: Permit, origin: Origin | None = None
) -> None:
    """End an open session. Raises: SessionNotFound, or the denial of the permit."""
    owner_id = await session.scalar(
        sa.select(UserSession.user_id).where(UserSession.id == session_id, UserSession.expires_at > sa.func.now())
    )
    if owner_id is None:
        raise SessionNotFound
    permit.check_owner(owner_id)
    await end_session(session, session_id=session_id, user_id=owner_id, origin=origin)


async def end_session(session: AsyncSession, *, session_id: UUID, user_id: UUID, origin: Origin | None = None) -> None:
    """End the session of a token that its user sent. Raises: SessionNotFound if it has ended already."""
    if not await revoke(session, [session_id]):
        raise SessionNotFound
    details = {"session_id": str(session_id)}
    await append(session, "session_revoked", user_id=user_id, actor=user_id, origin=origin, details=details)


async def revoke_session_of_token(session: AsyncSession, *, refresh_token: str, origin: Origin) -> None:
    """End the session of a refresh token, if there is one."""
    family = await session.execute(
        sa.select(UserSession.id, UserSession.user_id)
        .join(RefreshToken, RefreshToken.session_id == UserSession.id)
        .where(RefreshToken.token_hash == hash_of(refresh_token))
    )
    for session_id, user_id in family:
        with suppress(SessionNotFound):
            await end_session(session, session_id=session_id, user_id=user_id, origin=origin)


async def revoke_all_sessions(
    session: AsyncSession,
    *,
    user_id: UUID,
    except_session_id: UUID | None = None,
    actor: UUID | str | None = None,
    origin: Origin | None = None,
) -> int:
    """End a user's sessions, but one if it is named, and return how many were open. `actor`: by default the user.

    Call it after the account's row has been locked or changed: a sign-in locks it too, and so starts no session that
    would escape.
    """
    open_sessions = sa.select(UserSession.id).where(UserSession.user_id == user_id, UserSession.revoked_at.is_(None))
    if except_session_id is not None:
        open_sessions = open_sessions.where(UserSession.id != except_session_id)
    revoked = await revoke(session, list(await session.scalars(open_sessions)))
    # Half of a sign-in, with the former password, must not become a session.
    await session.execute(
        sa.delete(SignInChallenge).where(SignInChallenge.user_id == user_id),
        execution_options={"synchronize_session": False},
    )
    if revoked:
        await append(
            session,
            "sessions_revoked",
            user_id=user_id,
            actor=actor or user_id,
            origin=origin,
            details={"sessions": revoked},
        )
    return revoked


async def revoke(session: AsyncSession, session_ids: list[UUID]) -> int:
    """Revoke the sessions that are not revoked yet, and return how many."""
    if not session_ids:
        return 0
    return len((await session.scalars(_REVOKE, {"ids": session_ids})).all())


async def purge_revocations(session: AsyncSession, *, before: timedelta, limit: int) -> int:
    """Delete at most `limit` revocations that are older, whose tokens have expired; return how many."""
    return await delete_older(
        session, RevokedSession.session_id, time=RevokedSession.revoked_at, than=sa.func.now() - before, limit=limit
    )


async def purge_expired_sessions(session: AsyncSession, *, limit: int) -> int:
    """Delete at most `limit` expired sessions with their refresh tokens, and return how many sessions."""
    return await delete_older(session, UserSession.id, time=UserSession.expires_at, than=sa.func.now(), limit=limit)


async def purge_expired_tokens(session: AsyncSession, *, limit: int) -> int:
    """Delete at most `limit` expired refresh tokens of sessions that are still open, and return how many."""
    return await delete_older(
        session, RefreshToken.token_hash, time=RefreshToken.expires_at, than=sa.func.now(), limit=limit
    )


async def remove_old_successors(session: AsyncSession, *, grace: timedelta, limit: int) -> int:
    """Remove at most `limit` sealed successors whose grace is over, and return how many."""
    over = (
        sa.select(RefreshToken.token_hash)
        .where(RefreshToken.sealed_successor.is_not(None), RefreshToken.used_at < sa.func.now() - grace)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    removed = await session.scalars(
        sa.update(RefreshToken)
        .where(RefreshToken.token_hash.in_(over))
        .values(sealed_successor=None)
        .returning(sa.literal(1))
        .execution_options(synchronize_session=False)
    )
    return len(removed.all())

"""Commands of sessions: start and refresh. `revocation` ends them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from pydantic import JsonValue
from sqlalchemy.ext.asyncio import AsyncSession

from services.users.models.accounts import UserAccount
from services.users.models.sessions import AuthenticationMethod, RefreshToken, UserSession
from services.users.secret_tokens import NewToken, hash_of, new_token
from services.users.security_record.commands import ANONYMOUS, SYSTEM, Origin, append
from services.users.sessions.device_names import device_name
from services.users.sessions.refresh_tokens import seal, unseal
from services.users.sessions.revocation import revoke
from services.users.settings import SessionLimits
from shared.errors import Forbidden, Unauthenticated
from shared.ids import new_id


class AccountInactive(Forbidden):
    """The account is not active."""

    code = "account_inactive"


class RefreshTokenInvalid(Unauthenticated):
    """The refresh token is unknown or has expired, or its session has ended."""

    code = "refresh_token_invalid"


@dataclass(frozen=True)
class Grant:
    """A session and its next refresh token. This is the only place that has the token in plain text."""

    account: UserAccount
    session_id: UUID
    methods: Sequence[AuthenticationMethod]
    authenticated_at: datetime
    ends_at: datetime
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
    limits: SessionLimits,
) -> Grant:
    """Start a session of an account that has authenticated by `methods`. Raises: AccountInactive.

    It locks and reads the account again: a suspension or a new password that commits first must not be missed.
    """
    account, now = await _lock_account(session, account.id)
    if account.status != "active":
        raise AccountInactive
    await _end_surplus(session, user_id=account.id, origin=origin, keep=limits.per_user - 1)
    started = UserSession(
        id=new_id(),
        user_id=account.id,
        address=origin.address,
        user_agent=origin.user_agent,
        device=device_name(origin.user_agent),
        amr=list(methods),
        authenticated_at=now,
        created_at=now,
        last_used_at=now,
        expires_at=now + min(limits.refresh_token_lifetime, limits.lifetime),
        ends_at=now + limits.lifetime,
    )
    session.add(started)
    await session.flush()  # the refresh token refers to it
    token = new_token()
    await _store(session, token, family=started)
    details: dict[str, JsonValue] = {"session_id": str(started.id), "methods": [*methods]}
    await append(session, "signed_in", user_id=account.id, actor=account.id, origin=origin, details=details)
    return _grant(account, started, refresh_token=token.token)


async def refresh_session(
    session: AsyncSession, *, refresh_token: str, origin: Origin, limits: SessionLimits
) -> Grant | FamilyRevoked:
    """Exchange a refresh token for the next one, and extend its session.

    The same token gets the same successor again within the grace: two tabs may send it at once, and a client repeats a
    request whose response was lost. Later, its reuse revokes the session. FamilyRevoked is returned instead of raised,
    so that the caller commits the revocation before it responds with an error. Raises: RefreshTokenInvalid.
    """
    token_hash = hash_of(refresh_token)
    session_id = await session.scalar(sa.select(RefreshToken.session_id).where(RefreshToken.token_hash == token_hash))
    family = await _lock_session(session, session_id) if session_id else None
    # Read it only now: a request with the same token may have held the lock and used the token.
    found = await session.execute(
        sa.select(RefreshToken, sa.func.clock_timestamp()).where(
            RefreshToken.token_hash == token_hash, RefreshToken.expires_at > sa.func.now()
        )
    )
    token, now = found.one_or_none() or (None, None)
    if family is None or token is None or now is None:
        raise RefreshTokenInvalid
    successor = None
    if token.used_at is not None:
        sealed = token.sealed_successor if now < token.used_at + limits.refresh_grace else None
        successor = unseal(sealed, predecessor=refresh_token) if sealed else None
        if successor is None:
            return await _revoke_reused(session, family, origin=origin)
    account = await session.get_one(UserAccount, family.user_id)
    if family.revoked_at is not None or account.status != "active":
        raise RefreshTokenInvalid
    if successor is None:
        successor = await _rotate(session, token, refresh_token, family=family, now=now, limits=limits)
    family.last_used_at = now
    family.address, family.user_agent = origin.address, origin.user_agent
    family.device = device_name(origin.user_agent)
    return _grant(account, family, refresh_token=successor)


async def _rotate(
    session: AsyncSession,
    token: RefreshToken,
    refresh_token: str,
    *,
    family: UserSession,
    now: datetime,
    limits: SessionLimits,
) -> str:
    """Store the successor of a token, and extend the session. Return the successor."""
    family.expires_at = min(now + limits.refresh_token_lifetime, family.ends_at)
    successor = new_token()
    await _store(session, successor, family=family)
    token.used_at = now
    token.sealed_successor = seal(successor.token, predecessor=refresh_token) if limits.refresh_grace else None
    return successor.token


async def _store(session: AsyncSession, token: NewToken, *, family: UserSession) -> None:
    await session.execute(
        sa.insert(RefreshToken).values(token_hash=token.token_hash, session_id=family.id, expires_at=family.expires_at)
    )


async def _revoke_reused(session: AsyncSession, family: UserSession, *, origin: Origin) -> FamilyRevoked:
    if await revoke(session, [family.id]):
        details = {"session_id": str(family.id)}
        await append(
            session, "refresh_token_reused", user_id=family.user_id, actor=ANONYMOUS, origin=origin, details=details
        )
    return FamilyRevoked(family.id, family.user_id)


async def _end_surplus(session: AsyncSession, *, user_id: UUID, origin: Origin, keep: int) -> None:
    """End the sessions that were used longest ago, so that at most `keep` stay open."""
    surplus = await session.scalars(
        sa.select(UserSession.id)
        .where(
            UserSession.user_id == user_id,
            UserSession.revoked_at.is_(None),
            UserSession.expires_at > sa.func.now(),
        )
        .order_by(UserSession.last_used_at.desc(), UserSession.id.desc())
        .offset(keep)
    )
    ended = list(surplus)
    await revoke(session, ended)
    for session_id in ended:
        details = {"session_id": str(session_id), "reason": "too_many_sessions"}
        await append(session, "session_revoked", user_id=user_id, actor=SYSTEM, origin=origin, details=details)


async def _lock_account(session: AsyncSession, user_id: UUID) -> tuple[UserAccount, datetime]:
    """Return the account as it is now, and the time of the database."""
    found = await session.execute(
        sa.select(UserAccount, sa.func.clock_timestamp())
        .where(UserAccount.id == user_id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    if (row := found.one_or_none()) is None:
        raise AccountInactive  # it has just been deleted
    return row


async def _lock_session(session: AsyncSession, session_id: UUID) -> UserSession | None:
    return await session.scalar(
        sa.select(UserSession)
        .where(UserSession.id == session_id, UserSession.expires_at > sa.func.now())
        .with_for_update()
        .execution_options(populate_existing=True)
    )


def _grant(account: UserAccount, family: UserSession, *, refresh_token: str) -> Grant:
    return Grant(account, family.id, family.amr, family.authenticated_at, family.ends_at, refresh_token)

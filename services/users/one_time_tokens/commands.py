"""Commands of one-time tokens. Whoever redeems one has read the mail that it was sent in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from services.users.models.accounts import UserAccount
from services.users.models.one_time_tokens import OneTimeToken, TokenPurpose
from services.users.secret_tokens import hash_of, new_token
from services.users.settings import Settings
from shared.errors import Problem, TooManyRequests
from shared.statements import delete_older

COUNTED_FOR = timedelta(hours=1)
"""Time for which a token counts towards the limit of its user and purpose."""


class OneTimeTokenInvalid(Problem):
    """The link was used before, has expired, or was replaced by a newer one."""

    status = 410
    code = "one_time_token_invalid"


class TooManyLinks(TooManyRequests):
    """Too many links of this kind were mailed within an hour."""

    code = "too_many_links"


@dataclass(frozen=True)
class TokenPolicy:
    """The lifetimes of tokens, and how many of a purpose a user gets within an hour."""

    lifetimes: Mapping[TokenPurpose, timedelta]
    max_per_hour: int


class IssuedToken(NamedTuple):
    """A new token. This is the only place that has it in plain text."""

    token: str
    expires_at: datetime


class OpenToken(NamedTuple):
    """The user of a token that can still be redeemed, and the address that it was sent to."""

    user_id: UUID
    email: str


class RedeemedToken(NamedTuple):
    """The account of a token, locked, and the address that its holder has proved."""

    account: UserAccount
    email: str


def token_policy(settings: Settings) -> TokenPolicy:
    """Return the policy that the settings describe."""
    return TokenPolicy(
        lifetimes={
            "verify_email": timedelta(hours=settings.email_verification_hours),
            "change_email": timedelta(minutes=settings.email_change_minutes),
            "reset_password": timedelta(minutes=settings.password_reset_minutes),
        },
        max_per_hour=settings.one_time_tokens_per_hour,
    )


async def issue_token(
    session: AsyncSession, *, account: UserAccount, purpose: TokenPurpose, email: str, policy: TokenPolicy
) -> IssuedToken:
    """Issue a token that replaces the earlier ones of the same purpose. The caller has locked the account.

    Raises: TooManyLinks.
    """
    until_oldest_counts_no_more = sa.func.min(OneTimeToken.created_at) + COUNTED_FOR - sa.func.now()
    recent = sa.select(sa.func.count(), sa.type_coerce(until_oldest_counts_no_more, sa.Interval)).where(
        OneTimeToken.user_id == account.id,
        OneTimeToken.purpose == purpose,
        OneTimeToken.created_at > sa.func.now() - COUNTED_FOR,
    )
    count, retry_after = (await session.execute(recent)).one()
    if count >= policy.max_per_hour:
        raise TooManyLinks(retry_after=retry_after)
    await invalidate_tokens(session, user_id=account.id, purposes=[purpose])
    token = new_token()
    inserted = await session.execute(
        sa.insert(OneTimeToken)
        .values(
            token_hash=token.token_hash,
            user_id=account.id,
            purpose=purpose,
            email=email,
            expires_at=sa.func.now() + policy.lifetimes[purpose],
        )
        .returning(OneTimeToken.expires_at)
    )
    return IssuedToken(token.token, inserted.scalar_one())


async def open_token(session: AsyncSession, *, token: str, purpose: TokenPurpose) -> OpenToken:
    """Return what a token would prove, without using it. Raises: OneTimeTokenInvalid."""
    found = await session.execute(
        sa.select(OneTimeToken.user_id, OneTimeToken.email).where(*_is_open(token, purpose=purpose))
    )
    row = found.one_or_none()
    if row is None:
        raise OneTimeTokenInvalid
    return OpenToken(row.user_id, row.email)


async def redeem_token(session: AsyncSession, *, token: str, purpose: TokenPurpose) -> RedeemedToken:
    """Use a token up, once. Locks the account before the token, as `issue_token` does. Raises: OneTimeTokenInvalid."""
    user_id = (await open_token(session, token=token, purpose=purpose)).user_id
    account = await session.get(UserAccount, user_id, with_for_update=True, populate_existing=True)
    email = await session.scalar(
        sa.update(OneTimeToken)
        .where(*_is_open(token, purpose=purpose))
        .values(used_at=sa.func.now())
        .returning(OneTimeToken.email),
        execution_options={"synchronize_session": False},
    )
    if account is None or email is None or account.status != "active":
        raise OneTimeTokenInvalid
    if purpose != "change_email" and email != account.email:
        raise OneTimeTokenInvalid
    return RedeemedToken(account, email)


async def invalidate_tokens(session: AsyncSession, *, user_id: UUID, purposes: Sequence[TokenPurpose]) -> None:
    """Let a user's open tokens of these purposes no longer count. The caller has locked the account."""
    await session.execute(
        sa.update(OneTimeToken)
        .where(OneTimeToken.user_id == user_id, OneTimeToken.purpose.in_(purposes), OneTimeToken.used_at.is_(None))
        .values(used_at=sa.func.now()),
        execution_options={"synchronize_session": False},
    )


async def purge_one_time_tokens(session: AsyncSession, *, limit: int) -> int:
    """Delete at most `limit` tokens that have expired and that no limit counts any more; return how many."""
    return await delete_older(
        session, OneTimeToken.token_hash, time=OneTimeToken.expires_at, than=sa.func.now() - COUNTED_FOR, limit=limit
    )


def _is_open(token: str, *, purpose: TokenPurpose) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        OneTimeToken.token_hash == hash_of(token),
        OneTimeToken.purpose == purpose,
        OneTimeToken.used_at.is_(None),
        OneTimeToken.expires_at > sa.func.now(),
    )

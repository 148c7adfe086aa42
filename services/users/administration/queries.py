"""Queries of administration: lists of accounts, each read from an index that has their order."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, get_args
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from services.users.models.accounts import Role, UserAccount, UserStatus
from shared.errors import Problem

_HIGHEST_CHARACTER = "\U0010ffff"
"""Sorts after every character that an e-mail address can have."""
# No parameters: PostgreSQL uses a partial index only if the statement itself shows the index's condition.
_HAS_ROLE: dict[Role, sa.ColumnElement[bool]] = {
    role: sa.literal_column(f"user_account.roles @> ARRAY['{role}']", sa.Boolean) for role in get_args(Role)
}
MAX_FILTERED_ADDRESSES = 10_000
"""Addresses with one prefix that a list reads to find those that other filters select too. No index has both."""


class EmailPrefixTooShort(Problem):
    """Too many addresses begin with this to apply another filter to them."""

    status = 422
    code = "email_prefix_too_short"


@dataclass(frozen=True)
class AccountFilter:
    """Conditions of a list of accounts; one that is None selects any. Addresses are compared without case."""

    email: str | None = None
    email_prefix: str | None = None
    status: UserStatus | None = None
    role: Role | None = None
    created_after: datetime | None = None
    """Created at this time or later."""
    created_before: datetime | None = None


def accounts_of(wanted: AccountFilter) -> sa.Select[*tuple[Any, ...]]:
    """Select accounts, newest first; with a prefix of their addresses, ordered by address, which is a second column."""
    conditions = _conditions(wanted)
    if wanted.email_prefix is not None:
        # A label of its own: the one that a page would add has another number each time, so each statement is new.
        order = _sorted(UserAccount.email).label("sorted_email")
        return sa.select(UserAccount, order).where(*conditions).order_by(order)
    return sa.select(UserAccount).where(*conditions).order_by(UserAccount.created_at.desc(), UserAccount.id.desc())


async def check_prefix(session: AsyncSession, wanted: AccountFilter) -> None:
    """Check that a prefix of addresses leaves few enough accounts for the other filters.

    Raises: EmailPrefixTooShort.
    """
    others = replace(wanted, email_prefix=None)
    if wanted.email_prefix is None or others == AccountFilter():
        return
    addresses = sa.select(sa.literal(1)).where(*_has_prefix(wanted.email_prefix)).limit(MAX_FILTERED_ADDRESSES + 1)
    count = await session.scalar(sa.select(sa.func.count()).select_from(addresses.subquery()))
    if count is not None and count > MAX_FILTERED_ADDRESSES:
        raise EmailPrefixTooShort(
            f"More than {MAX_FILTERED_ADDRESSES:,} addresses do. Add a character, or leave out the other filters."
        )


async def is_last_active_admin(session: AsyncSession, account: UserAccount) -> bool:
    """Return whether the account is an active admin's, and there is no other one."""
    if account.status != "active" or "admin" not in account.roles:
        return False
    others = sa.select(UserAccount.id).where(
        _HAS_ROLE["admin"], UserAccount.status == "active", UserAccount.id != account.id
    )
    found: UUID | None = await session.scalar(others.limit(1))
    return found is None


def _conditions(wanted: AccountFilter) -> list[sa.ColumnElement[Any]]:
    conditions: list[sa.ColumnElement[Any]] = []
    if wanted.email is not None:
        conditions.append(sa.func.lower(UserAccount.email) == sa.func.lower(wanted.email))
    if wanted.email_prefix is not None:
        conditions += _has_prefix(wanted.email_prefix)
    if wanted.status is not None:
        conditions.append(UserAccount.status == wanted.status)
    if wanted.role is not None:
        conditions.append(_HAS_ROLE[wanted.role])
    if wanted.created_after is not None:
        conditions.append(UserAccount.created_at >= wanted.created_after)
    if wanted.created_before is not None:
        conditions.append(UserAccount.created_at < wanted.created_before)
    return conditions


def _has_prefix(prefix: str) -> list[sa.ColumnElement[bool]]:
    """Return the conditions of a range instead of LIKE, whose plan would depend on the value."""
    email, first = _sorted(UserAccount.email), _sorted(sa.literal(prefix))
    return [email >= first, email < first.concat(_HIGHEST_CHARACTER)]


def _sorted(email: sa.ColumnElement[str] | InstrumentedAttribute[str]) -> sa.Function[str]:
    """Return the address as an index has it, in whose order the texts with one prefix are neighbours."""
    return sa.func.lower(email.collate("C"), type_=sa.Text)

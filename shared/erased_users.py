"""Users whose personal data a service has erased, and the copies of these data that every service may hold.

A service that keeps a replica of users remembers whom it has erased, so that an event that comes later, such as one
that was resent or published again, brings nothing back. Once the account is erased, the id of its user names nobody.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

SCHEMA_UP = """
CREATE TABLE erased_user (
    user_id uuid NOT NULL,
    request_id uuid NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT now(),
    erased_at timestamptz,
    CONSTRAINT pk_erased_user PRIMARY KEY (user_id)
);
"""
SCHEMA_DOWN = "DROP TABLE erased_user;"

_BEGIN = sa.text("""
    INSERT INTO erased_user (user_id, request_id) VALUES (:user_id, :request_id)
    ON CONFLICT (user_id) DO UPDATE SET request_id = excluded.request_id
    RETURNING xmax = 0
""").bindparams(sa.bindparam("user_id", type_=sa.Uuid), sa.bindparam("request_id", type_=sa.Uuid))
_LOCK = sa.text("""
    SELECT user_id, request_id, requested_at, erased_at FROM erased_user WHERE user_id = :user_id FOR UPDATE
""").bindparams(sa.bindparam("user_id", type_=sa.Uuid))
_END = sa.text("""
    UPDATE erased_user SET erased_at = coalesce(erased_at, clock_timestamp()) WHERE user_id = :user_id
""").bindparams(sa.bindparam("user_id", type_=sa.Uuid))
_ERASED = sa.text("""
    SELECT user_id FROM erased_user WHERE user_id = ANY(CAST(:user_ids AS uuid[])) AND erased_at IS NOT NULL
""")

_USER_ID = sa.bindparam("user_id", type_=sa.Text)
# An answer to a member of staff holds the user's data, too: it is found by the id in its path or its body. These rows
# are read one by one, but none is older than a day.
_DELETE_ANSWERS = sa.text("""
    DELETE FROM idempotency_key
    WHERE caller = CAST(:user_id AS uuid) OR strpos(route, :user_id) > 0
       OR position(convert_to(:user_id, 'UTF8') IN body) > 0
""").bindparams(_USER_ID)
# A dead letter that may still be applied keeps its payload. Our own events hold nothing readable once the user's key is
# destroyed; those that are not ours may hold anything, and are never applied.
_EMPTY_DEAD_LETTERS = sa.text("""
    WITH emptied AS (
        UPDATE dead_letter SET
            payload = '', headers = '{}', error = NULL, next_try_at = NULL,
            resolution = coalesce(resolution, 'discarded'), resolved_at = coalesce(resolved_at, now())
        WHERE (key = :user_id OR position(convert_to(:user_id, 'UTF8') IN payload) > 0)
        AND (resolution IS NOT NULL OR reason IN ('foreign', 'undecodable'))
        RETURNING new.id, old.resolution
    ), discarded AS (
        INSERT INTO dead_letter_action (dead_letter_id, actor, action, outcome)
        SELECT id, 'erasure', 'discard', 'done' FROM emptied WHERE resolution IS NULL
    )
    UPDATE dead_letter_action SET detail = NULL WHERE dead_letter_id IN (SELECT id FROM emptied) AND detail IS NOT NULL
""").bindparams(_USER_ID)
_DELETE_HELD_JOBS = sa.text("""
    DELETE FROM pgqueuer WHERE status = 'failed' AND position(convert_to(:user_id, 'UTF8') IN payload) > 0
""").bindparams(_USER_ID)


@dataclass(frozen=True)
class Erasure:
    """The erasure of one user in this service. `erased_at` is None until the data are erased."""

    user_id: UUID
    request_id: UUID
    requested_at: datetime
    erased_at: datetime | None


def erased_user_table(metadata: sa.MetaData) -> sa.Table:
    """Add the table to a service's metadata, which its migrations are compared with."""
    return sa.Table(
        "erased_user",
        metadata,
        sa.Column("user_id", sa.Uuid, primary_key=True),
        sa.Column("request_id", sa.Uuid, nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("erased_at", sa.DateTime(timezone=True)),
    )


async def begin_erasure(session: AsyncSession, *, user_id: UUID, request_id: UUID) -> bool:
    """Record that a user has to be erased; return whether that is new. A repeated request gets the newer id."""
    is_new = await session.scalar(_BEGIN, {"user_id": user_id, "request_id": request_id})
    return bool(is_new)


async def lock_erasure(session: AsyncSession, user_id: UUID) -> Erasure | None:
    """Lock the erasure of a user, and return it; None if nobody has asked for one."""
    row = (await session.execute(_LOCK, {"user_id": user_id})).one_or_none()
    return None if row is None else Erasure(*row)


async def end_erasure(session: AsyncSession, user_id: UUID) -> None:
    """Record that a user was erased: from now on, events about the user store nothing. The first time is kept."""
    await session.execute(_END, {"user_id": user_id})


async def erased_among(session: AsyncSession, user_ids: Collection[UUID]) -> set[UUID]:
    """Return those of these users who were erased."""
    return set(await session.scalars(_ERASED, {"user_ids": list(user_ids)}))


async def erase_copies(session: AsyncSession, user_id: UUID) -> None:
    """Erase what the tables of every service may hold of a user: saved responses, dead letters, held jobs. Repeatable.

    The outbox and what was sent of it stay: personal data in them are sealed.
    """
    for statement in (_DELETE_ANSWERS, _EMPTY_DEAD_LETTERS, _DELETE_HELD_JOBS):
        await session.execute(statement, {"user_id": str(user_id)})

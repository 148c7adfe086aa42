"""Operations that take long: on record, a page a transaction, and going on where they stood when they were killed."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
import structlog
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database import Sessions
from shared.ids import new_id

logger = structlog.get_logger(__name__)

MAX_WAITING = 2_000
"""With more events than this in the outbox an operation rests: what it sends must not hold up today's events."""
BACKLOG_WAIT_SECONDS = 0.2
MAX_SILENT_WAITS = 25
"""So many in a row are no longer the relay's usual pace: somebody should look."""

_COLUMNS = "id, kind, actor, parameters, status, total, done, position, error, started_at, moved_at"
_BACKLOG = sa.text("SELECT count(*) > :most FROM (SELECT FROM outbox LIMIT :most + 1) AS waiting")
# Without an index of its own: people begin operations, so there are few, and each page would have to keep it up.
_PURGE = sa.text("""
    WITH forgotten AS (
        DELETE FROM operation WHERE id IN (
            SELECT id FROM operation
            WHERE status <> 'running' AND moved_at < now() - CAST(:older_than AS interval)
            LIMIT :limit
        ) RETURNING id
    )
    SELECT count(*) FROM forgotten
""")


@dataclass(frozen=True)
class Operation:
    """One operation and how far it is. `position` says where its next page begins; None: at the beginning."""

    id: UUID
    kind: str
    actor: str
    parameters: dict[str, Any]
    status: str
    total: int
    done: int
    position: dict[str, Any] | None
    error: str | None
    started_at: datetime
    moved_at: datetime

    @property
    def is_running(self) -> bool:
        """Whether there is something left that somebody does."""
        return self.status == "running"


@dataclass(frozen=True)
class Step:
    """What one page did: how many events it sent, and where the next one begins; None: there is none."""

    sent: int
    position: dict[str, Any] | None


TakeStep = Callable[[AsyncSession, Operation], Awaitable[Step]]
OnMoved = Callable[[Operation], None]


async def begin(session: AsyncSession, *, kind: str, actor: str, parameters: dict[str, Any], total: int) -> Operation:
    """Put an operation on record; with nothing to do it is done."""
    insert = sa.text(f"""
        INSERT INTO operation (id, kind, actor, parameters, status, total)
        VALUES (:id, :kind, :actor, :parameters, :status, :total) RETURNING {_COLUMNS}
    """).bindparams(sa.bindparam("parameters", type_=JSONB))  # noqa: S608 - a constant of this module
    row = await session.execute(
        insert.columns(parameters=JSONB, position=JSONB),
        {
            "id": new_id(),
            "kind": kind,
            "actor": actor,
            "parameters": parameters,
            "status": "running" if total else "done",
            "total": total,
        },
    )
    operation = Operation(**row.mappings().one())
    logger.info("operation_begun", operation_id=str(operation.id), kind=kind, actor=actor, total=total)
    return operation


async def find(session: AsyncSession, operation_id: UUID, *, is_locked: bool = False) -> Operation | None:
    """`is_locked`: until the transaction ends, so that of two who run it one waits for the other's page."""
    query = f"SELECT {_COLUMNS} FROM operation WHERE id = :id {'FOR UPDATE' if is_locked else ''}"  # noqa: S608 - constants
    row = await session.execute(sa.text(query).columns(parameters=JSONB, position=JSONB), {"id": operation_id})
    found = row.mappings().one_or_none()
    return None if found is None else Operation(**found)


async def run(
    sessions: Sessions,
    operation_id: UUID,
    *,
    take_step: TakeStep,
    seconds: float | None = None,
    on_moved: OnMoved | None = None,
) -> Operation | None:
    """Move the operation on until it ends, or for about so many seconds; None when there is no such operation."""
    until = None if seconds is None else time.monotonic() + seconds
    rests = 0
    while until is None or time.monotonic() < until:
        if await _is_backlogged(sessions):
            rests += 1
            if rests == MAX_SILENT_WAITS:
                logger.warning("operation_waits", operation_id=str(operation_id), reason="the outbox is not emptied")
            await asyncio.sleep(BACKLOG_WAIT_SECONDS)
            continue
        rests = 0
        operation = await _move(sessions, operation_id, take_step=take_step)
        if operation is None:
            return None
        if on_moved is not None:
            on_moved(operation)
        if not operation.is_running:
            logger.info("operation_ended", operation_id=str(operation.id), status=operation.status, done=operation.done)
            return operation
    async with sessions() as session:
        return await find(session, operation_id)


async def stop(session: AsyncSession, operation_id: UUID) -> None:
    """It goes no further; what it sent is sent."""
    await session.execute(
        sa.text("UPDATE operation SET status = 'stopped' WHERE id = :id AND status = 'running'"), {"id": operation_id}
    )


async def note_error(session: AsyncSession, operation_id: UUID, error: str) -> None:
    """Why it does not move at the moment; its next page takes the words back."""
    await session.execute(
        sa.text("UPDATE operation SET error = :error WHERE id = :id"), {"id": operation_id, "error": error}
    )


async def purge_ended(session: AsyncSession, *, older_than: timedelta, limit: int) -> int:
    """Delete one batch of ended operations that have not moved since; repeat, a transaction each, until 0."""
    return await session.scalar(_PURGE, {"older_than": older_than, "limit": limit}) or 0


async def _move(sessions: Sessions, operation_id: UUID, *, take_step: TakeStep) -> Operation | None:
    async with sessions.begin() as session:
        operation = await find(session, operation_id, is_locked=True)
        if operation is None or not operation.is_running:
            return operation
        step = await take_step(session, operation)
        await session.execute(
            sa.text("""
                UPDATE operation SET done = done + :sent, position = :position, status = :status, error = NULL,
                moved_at = clock_timestamp() WHERE id = :id
            """).bindparams(sa.bindparam("position", type_=JSONB(none_as_null=True))),
            {
                "id": operation_id,
                "sent": step.sent,
                "position": step.position,
                "status": "done" if step.position is None else "running",
            },
        )
        return await find(session, operation_id)


async def _is_backlogged(sessions: Sessions) -> bool:
    async with sessions() as session:
        return bool(await session.scalar(_BACKLOG, {"most": MAX_WAITING}))

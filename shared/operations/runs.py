"""Long operations: recorded in the database, run one page per transaction, and resumed after a crash."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
import structlog
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database import Sessions
from shared.ids import new_id

logger = structlog.get_logger(__name__)

MAX_WAITING_EVENTS = 2_000
"""An operation waits while the outbox holds more events than this, so that it does not delay new events."""
BACKLOG_POLL_SECONDS = 0.2
"""Interval at which a waiting operation looks at the outbox again."""
POLLS_BEFORE_WARNING = 25
"""Polls in a row after which the operation logs a warning: the relay is slower than usual."""

_COLUMNS = "id, kind, actor, parameters, status, total, done, position, error, started_at, moved_at"
_BACKLOG = sa.text("SELECT count(*) > :max_waiting FROM (SELECT FROM outbox LIMIT :max_waiting + 1) AS waiting")
# No index supports this purge: operators start few operations, and every page would have to update the index.
_PURGE = sa.text("""
    WITH purged AS (
        DELETE FROM operation WHERE id IN (
            SELECT id FROM operation
            WHERE status <> 'running' AND moved_at < :before
            LIMIT :limit
        ) RETURNING id
    )
    SELECT count(*) FROM purged
""")


@dataclass(frozen=True)
class Operation:
    """An operation and its progress. `position` says where its next page begins; None means at the beginning.

    `total` is None until the end if nobody has counted the events before.
    """

    id: UUID
    kind: str
    actor: str
    parameters: dict[str, Any]
    status: str
    total: int | None
    done: int
    position: dict[str, Any] | None
    error: str | None
    started_at: datetime
    moved_at: datetime

    @property
    def is_running(self) -> bool:
        """Return whether it has pages left and was not stopped."""
        return self.status == "running"


@dataclass(frozen=True)
class Step:
    """The outcome of one page: how many events it sent, and where the next page begins; None if it was the last."""

    sent: int
    position: dict[str, Any] | None


TakeStep = Callable[[AsyncSession, Operation], Awaitable[Step]]
OnProgress = Callable[[Operation], None]


async def begin(
    session: AsyncSession, *, kind: str, actor: str, parameters: dict[str, Any], total: int | None
) -> Operation:
    """Record a new operation. It is done already if `total` is 0."""
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
            "status": "done" if total == 0 else "running",
            "total": total,
        },
    )
    operation = Operation(**row.mappings().one())
    logger.info("operation_started", operation_id=str(operation.id), kind=kind, actor=actor, total=total)
    return operation


async def find(session: AsyncSession, operation_id: UUID, *, for_update: bool = False) -> Operation | None:
    """Return an operation; None if there is none with this id.

    `for_update` locks it until the transaction ends: of two processes that run it, one waits for the other's page.
    """
    query = f"SELECT {_COLUMNS} FROM operation WHERE id = :id {'FOR UPDATE' if for_update else ''}"  # noqa: S608 - constants
    row = await session.execute(sa.text(query).columns(parameters=JSONB, position=JSONB), {"id": operation_id})
    found = row.mappings().one_or_none()
    return None if found is None else Operation(**found)


async def run(
    sessions: Sessions,
    operation_id: UUID,
    *,
    take_step: TakeStep,
    seconds: float | None = None,
    max_waiting_events: int = MAX_WAITING_EVENTS,
    on_progress: OnProgress | None = None,
) -> Operation | None:
    """Run an operation page by page until it ends, or until `seconds` have passed; None if it does not exist."""
    deadline = None if seconds is None else time.monotonic() + seconds
    polls = 0
    while deadline is None or time.monotonic() < deadline:
        if await _is_backlogged(sessions, max_waiting_events):
            polls += 1
            if polls == POLLS_BEFORE_WARNING:
                reason = "too many events wait in the outbox"
                logger.warning("operation_delayed", operation_id=str(operation_id), reason=reason)
            await asyncio.sleep(BACKLOG_POLL_SECONDS)
            continue
        polls = 0
        operation = await _advance(sessions, operation_id, take_step=take_step)
        if operation is None:
            return None
        if on_progress is not None:
            on_progress(operation)
        if not operation.is_running:
            logger.info("operation_ended", operation_id=str(operation.id), status=operation.status, done=operation.done)
            return operation
    async with sessions() as session:
        return await find(session, operation_id)


async def stop(session: AsyncSession, operation_id: UUID) -> None:
    """Stop an operation before its next page. Events that it has sent stay sent."""
    await session.execute(
        sa.text("UPDATE operation SET status = 'stopped' WHERE id = :id AND status = 'running'"), {"id": operation_id}
    )


async def note_error(session: AsyncSession, operation_id: UUID, error: str) -> None:
    """Record why an operation makes no progress; its next page clears the error."""
    await session.execute(
        sa.text("UPDATE operation SET error = :error WHERE id = :id"), {"id": operation_id, "error": error}
    )


async def purge_operations(session: AsyncSession, *, before: datetime, limit: int) -> int:
    """Delete one batch of the operations that ended before a time; return their number.

    Repeat it, in a transaction each, until it returns 0.
    """
    return await session.scalar(_PURGE, {"before": before, "limit": limit}) or 0


async def _advance(sessions: Sessions, operation_id: UUID, *, take_step: TakeStep) -> Operation | None:
    async with sessions.begin() as session:
        operation = await find(session, operation_id, for_update=True)
        if operation is None or not operation.is_running:
            return operation
        step = await take_step(session, operation)
        await session.execute(
            sa.text("""
                UPDATE operation SET
                    done = done + :sent, position = :position, status = :status, error = NULL,
                    total = CASE WHEN :status = 'done' THEN coalesce(total, done + :sent) ELSE total END,
                    moved_at = clock_timestamp()
                WHERE id = :id
            """).bindparams(sa.bindparam("position", type_=JSONB(none_as_null=True))),
            {
                "id": operation_id,
                "sent": step.sent,
                "position": step.position,
                "status": "done" if step.position is None else "running",
            },
        )
        return await find(session, operation_id)


async def _is_backlogged(sessions: Sessions, max_waiting_events: int) -> bool:
    async with sessions() as session:
        return bool(await session.scalar(_BACKLOG, {"max_waiting": max_waiting_events}))

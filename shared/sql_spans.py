"""Spans of SQL statements: their text without parameters, which hold personal data, as children of the current span."""

import re
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any, cast

import sqlalchemy as sa
from opentelemetry.trace import Span, SpanKind
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.engine.interfaces import DBAPIConnection, ExecutionContext
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.patches.sqlalchemy_driver import has_begun
from shared.telemetry import Attributes, fail, is_tracing, span, start_child

_SPAN = "orderly_span"
_WRITE = re.compile(r"\b(INSERT INTO|DELETE FROM|UPDATE)\s+(?!(?:SET|OF|SKIP|NOWAIT)\b)(\w+)", re.IGNORECASE)
"""A statement's writes, without FOR UPDATE OF and DO UPDATE SET."""
_READ = re.compile(r"\bFROM\s+(\w+)\b(?!\s*\()", re.IGNORECASE)
_WORD = re.compile(r"\w+")
_MAX_WRITES = 3
"""Upper bound of the writes in a span's name."""


def sql_span(sql: str) -> AbstractContextManager[Span]:
    """Run the block, which executes a statement on the driver's connection, in a span."""
    # Off, describing the statement would be the whole cost.
    if not is_tracing():
        return span(sql)
    return span(summary_of(sql), kind=SpanKind.CLIENT, attributes=_attributes_of(sql))


@lru_cache(maxsize=1024)
def summary_of(sql: str) -> str:
    """Return what a statement does to which tables, such as "UPDATE delivery": its writes, or what it reads first."""
    writes = list(dict.fromkeys(f"{action.split()[0].upper()} {table}" for action, table in _WRITE.findall(sql)))
    if writes:
        return ", ".join([*writes[:_MAX_WRITES], *(["..."] if writes[_MAX_WRITES:] else [])])
    word = _WORD.search(sql)
    first = word[0].upper() if word else "SQL"
    read = _READ.search(sql) if first in {"SELECT", "WITH"} else None
    return f"SELECT {read[1]}" if read else first


@lru_cache(maxsize=1024)
def _attributes_of(sql: str) -> Attributes:
    summary = summary_of(sql)
    return {
        "db.system.name": "postgresql",
        "db.query.text": sql,
        "db.query.summary": summary,
        "db.operation.name": summary.partition(" ")[0],
    }


def trace_statements(engine: AsyncEngine) -> None:
    """Let every statement, commit and rollback of an engine have a span. Call it only while spans are recorded."""
    sync_engine = engine.sync_engine
    sa.event.listen(sync_engine, "before_cursor_execute", _before)
    sa.event.listen(sync_engine, "after_cursor_execute", _after)
    sa.event.listen(sync_engine, "handle_error", _failed)
    dialect = cast("Any", sync_engine.dialect)
    dialect.do_commit = _in_span("COMMIT", dialect.do_commit)
    dialect.do_rollback = _in_span("ROLLBACK", dialect.do_rollback)


def _in_span(sql: str, execute: Callable[[DBAPIConnection], None]) -> Callable[[DBAPIConnection], None]:
    def execute_in_span(connection: DBAPIConnection) -> None:
        # The pool rolls back every connection that it gets back. After a COMMIT, asyncpg has nothing to send.
        with sql_span(sql) if has_begun(connection) else nullcontext():
            execute(connection)

    return execute_in_span


def _before(
    _connection: sa.Connection, _cursor: object, sql: str, _parameters: object, context: ExecutionContext, _many: bool
) -> None:
    setattr(context, _SPAN, start_child(summary_of(sql), kind=SpanKind.CLIENT, attributes=_attributes_of(sql)))


def _after(
    _connection: sa.Connection, _cursor: object, _sql: str, _parameters: object, context: ExecutionContext, _many: bool
) -> None:
    _end(context)


def _failed(context: ExceptionContext) -> None:
    if context.execution_context is not None:
        _end(context.execution_context, context.original_exception)


def _end(context: ExecutionContext, error: BaseException | None = None) -> None:
    started: Span | None = getattr(context, _SPAN, None)
    if started is not None:
        if error is not None:
            fail(started, error)
        started.end()

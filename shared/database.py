"""The PostgreSQL database of one service: engine and sessions."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any

import asyncpg
import sqlalchemy as sa
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session

from shared.commit_buffer import BufferedSession
from shared.connection_errors import CONNECTION_ERRORS
from shared.connection_pool import POOL_IN_USE, POOL_SIZE, POOL_TIMEOUT_SECONDS, POOL_WAITING, ConnectionPool
from shared.connection_urls import dsn_of
from shared.patches.sqlalchemy_driver import invalidate_statements, ping_with_begin
from shared.sql_spans import trace_statements
from shared.telemetry import is_tracing
from shared.transient_errors import is_stale_statement

Sessions = async_sessionmaker[AsyncSession]

_UNSUPPORTED_PARAMETER = "unsupported startup parameter"
"""PgBouncer's error for session settings that it does not pass on."""


class ConnectedThroughPooler(Exception):
    """The connection leads to a pooler such as PgBouncer, whose clients share sessions."""

    def __init__(self) -> None:
        super().__init__(
            "The database URL leads to a pooler such as PgBouncer, not to PostgreSQL itself: sessions need LISTEN, "
            "prepared statements and settings of their own"
        )


@dataclass
class CommitWatch:
    """Whether a transaction has committed while it watched."""

    has_committed: bool = False


_watch: ContextVar[CommitWatch | None] = ContextVar("commit_watch", default=None)


@contextmanager
def watching_commits() -> Iterator[CommitWatch]:
    """Record whether a session commits in this block, or in a task that it starts."""
    watch = CommitWatch()
    token = _watch.set(watch)
    try:
        yield watch
    finally:
        _watch.reset(token)


@sa.event.listens_for(BufferedSession, "after_commit")
def _note_commit(session: Session) -> None:
    watch = _watch.get()
    if watch is not None and not session.in_nested_transaction():
        watch.has_committed = True


@dataclass(frozen=True)
class Database:
    """An engine with its session factory."""

    engine: AsyncEngine
    sessions: Sessions

    async def ping(self) -> None:
        """Check that the database answers. Raises: errors of the driver and the pool."""
        async with self.engine.connect():
            # Nothing to do: the pool pings a connection that it hands out, or opens a new one.
            pass

    async def close(self) -> None:
        """Close every pooled connection."""
        await self.engine.dispose()


def _show_pool(engine: AsyncEngine, size: int) -> None:
    """Let each scrape read the state of the engine's pool."""
    pool_of = engine.sync_engine
    POOL_SIZE.set(size)
    POOL_IN_USE.set_function(lambda: pool_of.pool.checkedout() if isinstance(pool_of.pool, ConnectionPool) else 0)
    POOL_WAITING.set_function(lambda: pool_of.pool.waiting if isinstance(pool_of.pool, ConnectionPool) else 0)


def open_database(
    url: str, *, service: str, pool_size: int, on_events_committed: Callable[[], None] | None = None
) -> Database:
    """Return a database. It connects at its first use.

    `service` names the CloudEvents source of the events that its sessions record. `on_events_committed` is called after
    each commit that recorded events, so that a relay in this process need not wait for its next poll.
    """
    engine = create_engine(
        url,
        poolclass=ConnectionPool,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT_SECONDS,
        pool_pre_ping=True,
        # Use as few connections as possible: they keep their prepared statements.
        pool_use_lifo=True,
        # Parameters hold personal data, and error messages are logged.
        hide_parameters=True,
        connect_with={
            "timeout": 5,
            "command_timeout": 30,
            "server_settings": {
                "application_name": f"orderly-{service}",
                "statement_timeout": "15000",
                "lock_timeout": "10000",
                "idle_in_transaction_session_timeout": "30000",
                "timezone": "UTC",
                # All statements are short: compiling one takes longer than it saves.
                "jit": "off",
            },
        },
    )
    ping_with_begin(engine)
    if is_tracing():
        trace_statements(engine)
    _show_pool(engine, pool_size)
    sa.event.listen(engine.sync_engine, "handle_error", _prepare_again)
    sessions = async_sessionmaker(
        engine,
        expire_on_commit=False,
        sync_session_class=BufferedSession,
        info={"service": service, "on_events_committed": on_events_committed},
    )
    return Database(engine=engine, sessions=sessions)


def create_engine(url: str, *, connect_with: Mapping[str, Any] | None = None, **options: Any) -> AsyncEngine:
    """Return an engine whose connections asyncpg opens by the URL in libpq's form, with the arguments `connect_with`.

    `options` are those of SQLAlchemy's engine.
    """
    dsn = dsn_of(url)
    # SQLAlchemy does not connect by this URL: it names the dialect and the database.
    named = sa.make_url(dsn).set(drivername="postgresql+asyncpg", query={})
    return create_async_engine(named, async_creator=partial(_connect, dsn, **(connect_with or {})), **options)


def _prepare_again(context: ExceptionContext) -> None:
    """Let the connections prepare their statements again after an error of a schema change.

    SQLAlchemy does so itself, but not after the error of a composite type: asyncpg has closed the statements, and
    SQLAlchemy would go on to use them.
    """
    if context.connection is not None and is_stale_statement(
        context.sqlalchemy_exception or context.original_exception
    ):
        invalidate_statements(context.connection)


async def refuse_pooler(url: str) -> None:
    """Check that the URL leads to PostgreSQL itself, if it answers. Raises: ConnectedThroughPooler."""
    with suppress(*CONNECTION_ERRORS):
        connection = await _connect(dsn_of(url), timeout=5)
        connection.terminate()


async def _connect(dsn: str, **arguments: Any) -> "asyncpg.Connection[asyncpg.Record]":
    try:
        connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(dsn, **arguments)
    except asyncpg.ProtocolViolationError as error:
        if _UNSUPPORTED_PARAMETER in str(error):
            raise ConnectedThroughPooler from error
        raise
    try:
        # A pooler gives a number of its own to its client, and keeps the server's process to itself.
        is_direct = await connection.fetchval("SELECT pg_backend_pid()") == connection.get_server_pid()
    except BaseException:
        connection.terminate()
        raise
    if not is_direct:
        connection.terminate()
        raise ConnectedThroughPooler
    return connection

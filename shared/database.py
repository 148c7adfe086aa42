"""The PostgreSQL database of one service: engine and sessions."""

from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from shared.commit_buffer import BufferedSession
from shared.patches.sqlalchemy_driver import ping_with_begin

Sessions = async_sessionmaker[AsyncSession]


@dataclass(frozen=True)
class Database:
    """An engine with its session factory."""

    engine: AsyncEngine
    sessions: Sessions

    async def ping(self) -> None:
        """Check that the database answers. Raises: errors of the driver and the pool."""
        async with self.engine.connect() as connection:
            await connection.execute(sa.text("SELECT 1"))

    async def close(self) -> None:
        """Close every pooled connection."""
        await self.engine.dispose()


def open_database(
    url: str, *, service: str, pool_size: int, on_events_committed: Callable[[], None] | None = None
) -> Database:
    """Return a database. It connects at its first use.

    `service` names the CloudEvents source of the events that its sessions record. `on_events_committed` is called after
    each commit that recorded events, so that a relay in this process need not wait for its next poll.
    """
    engine = create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=5,
        pool_pre_ping=True,
        # Use as few connections as possible: they keep their prepared statements.
        pool_use_lifo=True,
        # Parameters hold personal data, and error messages are logged.
        hide_parameters=True,
        connect_args={
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
    sessions = async_sessionmaker(
        engine,
        expire_on_commit=False,
        sync_session_class=BufferedSession,
        info={"service": service, "on_events_committed": on_events_committed},
    )
    return Database(engine=engine, sessions=sessions)


def dsn_of(database_url: str) -> str:
    """Return the URL in the form that asyncpg takes, without SQLAlchemy's driver name."""
    return database_url.replace("postgresql+asyncpg://", "postgresql://", 1)

"""One service's PostgreSQL database: its engine and its sessions."""

from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from shared.commit_buffer import BufferedSession

Sessions = async_sessionmaker[AsyncSession]


@dataclass(frozen=True)
class Database:
    """An engine and the factory of its sessions."""

    engine: AsyncEngine
    sessions: Sessions

    async def ping(self) -> None:
        """Ask the database for a reply. Raises: DBAPIError, OSError, TimeoutError."""
        async with self.engine.connect() as connection:
            await connection.execute(sa.text("SELECT 1"))

    async def close(self) -> None:
        """Close every pooled connection."""
        await self.engine.dispose()


def open_database(
    url: str, *, service: str, pool_size: int, on_events_committed: Callable[[], None] | None = None
) -> Database:
    """Create the engine; it connects at the first use.

    `service` is the CloudEvents source of what its sessions record. `on_events_committed` is called after each commit
    with events, so that a relay in this process does not wait for its next poll.
    """
    engine = create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=5,
        pool_pre_ping=True,
        # Parameters are personal data; they must not get into an error's text, which is logged.
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
                # All statements are short: compiling them costs more than it saves.
                "jit": "off",
            },
        },
    )
    sessions = async_sessionmaker(
        engine,
        expire_on_commit=False,
        sync_session_class=BufferedSession,
        info={"service": service, "on_events_committed": on_events_committed},
    )
    return Database(engine=engine, sessions=sessions)


def dsn_of(database_url: str) -> str:
    """Return the URL as asyncpg takes it."""
    return database_url.replace("postgresql+asyncpg://", "postgresql://", 1)

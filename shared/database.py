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
        """Raises when no connection answers."""
        async with self.engine.connect() as connection:
            await connection.execute(sa.text("SELECT 1"))

    async def close(self) -> None:
        """Close every pooled connection."""
        await self.engine.dispose()


def open_database(
    url: str, *, service: str, pool_size: int, on_events_committed: Callable[[], None] | None = None
) -> Database:
    """Make the engine; nothing connects before the first use.

    `service` names the CloudEvents source of what its sessions record. `on_events_committed` is called after
    each commit that left events in the outbox, so that a relay in this process need not wait for its next poll.
    """
    engine = create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=5,
        pool_pre_ping=True,
        # Parameters are people's data; they have no place in an error's text, which gets logged.
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
                # Every statement here is a short one: compiling it costs more than it saves.
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
    """The URL as asyncpg itself takes it."""
    return database_url.replace("postgresql+asyncpg://", "postgresql://", 1)

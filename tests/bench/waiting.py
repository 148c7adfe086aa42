"""Waiting for the database, which tells nobody when it changes."""

import asyncio

import asyncpg

POLL_SECONDS = 0.02
"""Little beside what is measured so, and seldom enough not to slow it down."""

OUTBOX_IS_EMPTY = "SELECT NOT EXISTS (SELECT FROM outbox WHERE shard = 0)"
RELAY_LEADS = "SELECT EXISTS (SELECT FROM relay_lease WHERE expires_at > clock_timestamp())"


async def until(connection: "asyncpg.Connection[asyncpg.Record]", question: str, *, seconds: float) -> None:
    """Ask until the answer is true. Raises: TimeoutError."""
    async with asyncio.timeout(seconds):
        while not await connection.fetchval(question):  # noqa: ASYNC110 - as the module's first line says
            await asyncio.sleep(POLL_SECONDS)

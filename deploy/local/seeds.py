"""What is put into the databases once: noted in PostgreSQL itself, so that the note lives and dies with the data."""

from collections.abc import Awaitable, Callable

import asyncpg


async def prepare_notes(admin_url: str) -> None:
    """Make the table of what was seeded, before anybody asks."""
    connection = await asyncpg.connect(admin_url)
    try:
        await connection.execute("CREATE TABLE IF NOT EXISTS seeded (name text PRIMARY KEY)")
    finally:
        await connection.close()


async def seed_once(admin_url: str, *, name: str, seed: Callable[[], Awaitable[None]]) -> None:
    """Call `seed` unless it has succeeded on this server before."""
    connection = await asyncpg.connect(admin_url)
    try:
        if await connection.fetchval("SELECT true FROM seeded WHERE name = $1", name):
            return
        await seed()
        await connection.execute("INSERT INTO seeded (name) VALUES ($1)", name)
    finally:
        await connection.close()

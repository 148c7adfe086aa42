"""Finds texts in all tables of a database: what an erasure has left."""

from collections.abc import Sequence

import asyncpg

_TABLES = """
    SELECT quote_ident(c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'public' AND c.relkind = 'r' ORDER BY c.relname
"""


async def tables_with(dsn: str, texts: Sequence[str]) -> dict[str, list[str]]:
    """Return the rows that hold one of the texts, by table. Case is ignored; binary columns are searched, too."""
    needles = [needle.lower() for text in texts for needle in (text, text.encode().hex())]
    connection = await asyncpg.connect(dsn)
    found: dict[str, list[str]] = {}
    for (table,) in await connection.fetch(_TABLES):
        rows = await connection.fetch(f"SELECT t::text FROM {table} AS t")  # noqa: S608 - the names of tables
        if hits := [row for (row,) in rows if any(needle in row.lower() for needle in needles)]:
            found[table] = hits
    await connection.close()
    return found

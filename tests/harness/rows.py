"""Queries on a test's database."""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from shared.database import Sessions


@dataclass(frozen=True)
class Rows:
    """Queries on a service's database."""

    sessions: Sessions

    async def of(self, query: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """Return the rows of a query, as tuples."""
        async with self.sessions() as session:
            return [tuple(row) for row in await session.execute(sa.text(query), parameters)]

    async def effects(self) -> list[tuple[str, int]]:
        """Return (key, sequence) of every effect, in the order of their inserts."""
        return [(key, sequence) for key, sequence in await self.of("SELECT key, sequence FROM effect ORDER BY id")]

    async def dead_letters(self) -> list[tuple[str, int | None, str]]:
        """Return (key, sequence, reason) of every dead letter, in the order of their inserts."""
        rows = await self.of("SELECT key, sequence, reason FROM dead_letter ORDER BY id")
        return [(key, sequence, reason) for key, sequence, reason in rows]

    async def count(self, table: str) -> int:
        """Return the number of rows of a table."""
        ((count,),) = await self.of(f"SELECT count(*) FROM {table}")  # noqa: S608 - the tests' own names
        return int(count)

"""What every benchmark is given: servers as they run in production, and how much of everything."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import TypeAlias

from shared.messaging.topics import create_topics
from tests.bench.figures import Figure
from tests.chaos.ground import TEMPLATE, Ground
from tests.harness.table_rows import fill_messaging_tables

_numbers = count(1)

Part: TypeAlias = Callable[[], Awaitable[list[Figure]]]
"""Lets each contender run once; the lines are the same every time."""
Round: TypeAlias = Sequence[Part]
"""Its parts in order: each runs with empty tables and with full ones, close together, before the next does."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """The servers and the size of one run."""

    ground: Ground
    events: int
    """In one round."""
    rows: int
    """In every table of every database, before anything is measured."""
    template: str
    """The migrated database, with those rows, that others are copied from."""
    _databases: dict[str, str] = field(default_factory=dict)

    async def new_database(self, purpose: str) -> str:
        """A migrated database with `rows` rows in every table; its URL, straight to the server.

        The last one of the same purpose is dropped: with a million rows each takes gigabytes.
        """
        name = f"bench_{purpose}_{next(_numbers)}"
        if last := self._databases.get(purpose):
            await self.ground.execute(f'DROP DATABASE "{last}" WITH (FORCE)')
        self._databases[purpose] = name
        strategy = "file_copy" if self.rows else "wal_log"
        await self.ground.new_database(name, template=self.template, strategy=strategy)
        # What the copy has left to be written is written now, and not while something is measured.
        await self.ground.execute("CHECKPOINT")
        await asyncio.to_thread(os.sync)
        return self.ground.database_url(name)

    async def new_topics(self, purpose: str) -> str:
        """All declared topics, empty; the prefix of their names."""
        prefix = f"bench-{purpose}-{next(_numbers)}."
        await create_topics(self.ground.kafka, prefix=prefix)
        return prefix


@asynccontextmanager
async def prepared_setting(ground: Ground, *, events: int, rows: int) -> AsyncIterator[Setting]:
    """Make the template, filled where rows are wanted; drop it in the end."""
    if not rows:
        yield Setting(ground=ground, events=events, rows=rows, template=TEMPLATE)
        return
    template = f"template_{rows}_rows"
    await ground.new_database(template)
    await fill_messaging_tables(ground.database_url(template), rows=rows)
    yield Setting(ground=ground, events=events, rows=rows, template=template)
    await ground.execute(f'DROP DATABASE "{template}"')

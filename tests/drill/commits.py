"""Commits of one database, one after the other, so that a drill can tell which of them a restore has kept."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

import asyncpg

from shared.connection_errors import CONNECTION_ERRORS

INTERVAL_SECONDS = 0.01
RECONNECT_SECONDS = 0.05

_CREATE = "CREATE TABLE IF NOT EXISTS drill_commit (id bigint PRIMARY KEY, at timestamptz NOT NULL)"
_COMMIT = "INSERT INTO drill_commit (id, at) VALUES ($1, clock_timestamp()) RETURNING at"
_LAST = "SELECT id, at FROM drill_commit ORDER BY id DESC LIMIT 1"


class Commit(NamedTuple):
    """A commit that the server has acknowledged, and the time of its row by the server's clock."""

    id: int
    at: datetime


@dataclass
class Commits:
    """Commits until it is cancelled. After `let_go`, a lost connection is not replaced before `resume`."""

    url: str
    acknowledged: list[Commit] = field(default_factory=list)
    """The commits since the last `resume`."""
    _may_connect: asyncio.Event = field(default_factory=asyncio.Event)
    _id: int = 0

    async def last(self) -> Commit | None:
        """Return the last commit that is in the database."""
        connection = await asyncpg.connect(self.url, timeout=5)
        try:
            await connection.execute(_CREATE)
            row = await connection.fetchrow(_LAST)
        finally:
            await connection.close()
        return Commit(*row) if row is not None else None

    def let_go(self) -> None:
        """Go on until the connection is lost, and then wait for `resume`."""
        self._may_connect.clear()

    def resume(self) -> None:
        """Connect and commit again."""
        self.acknowledged = []
        self._may_connect.set()

    async def first_acknowledged(self) -> Commit:
        """Wait for the first commit since the last `resume`."""
        while not self.acknowledged:  # noqa: ASYNC110 - a round of the loop takes as long
            await asyncio.sleep(INTERVAL_SECONDS)
        return self.acknowledged[0]

    async def run(self) -> None:
        """Commit one row after the other."""
        while True:
            await self._may_connect.wait()
            with suppress(*CONNECTION_ERRORS):
                await self._commit_until_lost()
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _commit_until_lost(self) -> None:
        connection = await asyncpg.connect(self.url, timeout=5)
        try:
            await connection.execute(_CREATE)
            while True:
                # Never one number twice: the server may have stored one that it did not acknowledge.
                self._id += 1
                at = await connection.fetchval(_COMMIT, self._id, timeout=30)
                self.acknowledged.append(Commit(self._id, at))
                await asyncio.sleep(INTERVAL_SECONDS)
        finally:
            connection.terminate()


@asynccontextmanager
async def committing(*all_commits: Commits) -> AsyncIterator[None]:
    """Commit in each database until the end of the block."""
    tasks = [asyncio.create_task(each.run()) for each in all_commits]
    for each in all_commits:
        each.resume()
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended

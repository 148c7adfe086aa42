"""The lease that makes one relay the leader of a shard. The database's clock decides when it expires."""

import time
from datetime import timedelta

import asyncpg

from shared.messaging import metrics

LEASE_DURATION = timedelta(seconds=5)
"""Validity of a lease without renewal. A shard whose leader was killed waits this long for the next one."""

_ACQUIRE = """
    INSERT INTO relay_lease (shard, owner, epoch, expires_at) VALUES ($1, $2, 1, clock_timestamp() + $3)
    ON CONFLICT (shard) DO UPDATE SET
        owner = excluded.owner, epoch = relay_lease.epoch + 1, expires_at = excluded.expires_at
    -- An owner may take its unexpired lease again: it lost its connection, and is still the only leader.
    WHERE relay_lease.expires_at < clock_timestamp() OR relay_lease.owner = excluded.owner
    -- Nobody holds a lease for longer: the server's clock was wrong, and nobody may renew this one for a long time.
    OR relay_lease.expires_at > clock_timestamp() + $3
    RETURNING epoch, pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS oldest_xid
"""

_TAKE_OVER = """
    INSERT INTO relay_lease (shard, owner, epoch, expires_at) VALUES ($1, $2, 1, clock_timestamp() + $3)
    ON CONFLICT (shard) DO UPDATE SET
        owner = excluded.owner, epoch = relay_lease.epoch + 1, expires_at = excluded.expires_at
    RETURNING epoch, pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS oldest_xid
"""

_RENEW = """
    UPDATE relay_lease SET expires_at = clock_timestamp() + $4 WHERE shard = $1 AND owner = $2 AND epoch = $3
    RETURNING epoch, pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS oldest_xid
"""

_RELEASE = "UPDATE relay_lease SET expires_at = clock_timestamp() WHERE shard = $1 AND owner = $2 AND epoch = $3"


class Lease:
    """One process's view of a shard's lease.

    An advisory lock would not be enough: a process that is suspended keeps it. `epoch` rises with every new leader.
    """

    def __init__(self, *, shard: int, owner: str, duration: timedelta = LEASE_DURATION) -> None:
        self.owner = owner
        self.duration = duration
        self.epoch = 0
        self.is_held = False
        self.oldest_xid = 0
        """The oldest transaction that was in progress when this process acquired or renewed the lease last."""
        self._shard = shard
        self._renewed_at = 0.0

    async def hold(self, connection: "asyncpg.Connection[asyncpg.Record]") -> bool:
        """Acquire the lease, or renew it once a third of it has passed; return whether this process holds it."""
        if self.is_held:
            if time.monotonic() - self._renewed_at < self.duration.total_seconds() / 3:
                return True
            return await self.renew(connection)
        return self._note(await connection.fetchrow(_ACQUIRE, self._shard, self.owner, self.duration))

    async def renew(self, connection: "asyncpg.Connection[asyncpg.Record]") -> bool:
        """Renew the lease now; return whether this process still holds it.

        In a transaction it locks the lease: nobody else acquires it before the transaction ends.
        """
        return self._note(await connection.fetchrow(_RENEW, self._shard, self.owner, self.epoch, self.duration))

    async def take_over(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        """Acquire the lease although another process may hold it. That process moves and fetches nothing any more."""
        self._note(await connection.fetchrow(_TAKE_OVER, self._shard, self.owner, self.duration))

    def _note(self, held: asyncpg.Record | None) -> bool:
        if held is None:
            self.lose()
            return False
        self.epoch, self.oldest_xid = held
        self.is_held = True
        self.renewed()
        metrics.RELAY_LEADER.labels(self._shard).set(1)
        metrics.RELAY_EPOCH.labels(self._shard).set(self.epoch)
        return True

    async def release(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        """Let the lease expire now, so that another relay can lead at once."""
        if self.is_held:
            await connection.execute(_RELEASE, self._shard, self.owner, self.epoch)
            self.lose()

    def renewed(self) -> None:
        """Note that the database has just extended the lease."""
        self._renewed_at = time.monotonic()

    def lose(self) -> None:
        """Note that this process does not hold the lease any more, or cannot know whether it does."""
        self.is_held = False
        metrics.RELAY_LEADER.labels(self._shard).set(0)

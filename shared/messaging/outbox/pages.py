"""Pages of the outbox: rows fetched in the order of their ids, and moved once Kafka has acknowledged them."""

import time
from collections.abc import Sequence

import asyncpg

from shared.messaging.outbox.lease import Lease
from shared.messaging.outbox.partitions import PinnedPartitions
from shared.messaging.outbox.publisher import Acknowledged
from shared.messaging.outbox.watermark import Watermark

PAGE_ROWS = 1_000
"""Upper bound of events that the relay publishes at once."""
MOVE_ROWS = PAGE_ROWS // 2
"""Acknowledged rows that are moved without a delay."""
MOVE_DELAY_SECONDS = 0.5
"""Delay before fewer than MOVE_ROWS acknowledged rows are moved, so that one statement moves more. Raised, a killed
relay's successor publishes more events twice; lowered, each event costs the database more."""

IS_LEADING = "EXISTS (SELECT FROM relay_lease WHERE shard = $1 AND owner = $7 AND epoch = $8)"
# A relay that has lost its lease without noticing gets no rows: whoever holds the lease may have changed the number of
# partitions, and its page would go to the old ones, past earlier events of the same keys (decision 14).
PAGE = f"""
    SELECT id, event_id, topic, key, sequence, type, source, dataschema, occurred_at, traceparent, tracestate, payload
    FROM outbox
    WHERE shard = $1
    AND id > CASE WHEN $3 = coalesce((SELECT resends FROM outbox_resend WHERE shard = $1), 0) THEN $2 ELSE 0 END
    AND id <> ALL($4::bigint[]) AND topic <> ALL($5::text[])
    AND {IS_LEADING}
    ORDER BY id LIMIT $6
"""  # noqa: S608 - a constant of this module

# One statement renews the lease and moves the rows: a relay that has lost its lease moves nothing.
_MOVE = """
    WITH lease AS (
        UPDATE relay_lease SET expires_at = clock_timestamp() + $4 WHERE shard = $1 AND owner = $2 AND epoch = $3
        RETURNING shard
    ), moved AS (
        DELETE FROM outbox o
        USING unnest($5::bigint[], $6::int[], $7::bigint[]) AS sent (id, partition, "offset"), lease
        WHERE o.shard = lease.shard AND o.id = sent.id
        RETURNING o.*, sent.partition, sent."offset"
    ), kept AS (
        INSERT INTO outbox_sent (
            day, id, event_id, topic, key, sequence, type, source, dataschema, occurred_at, traceparent, tracestate,
            payload, shard, partition, "offset", sent_at
        )
        SELECT (clock_timestamp() AT TIME ZONE 'UTC')::date, id, event_id, topic, key, sequence, type, source,
               dataschema, occurred_at, traceparent, tracestate, payload, shard, partition, "offset", clock_timestamp()
        FROM moved
    )
    SELECT
        EXISTS (SELECT FROM lease) AS is_leading,
        coalesce((SELECT resends FROM outbox_resend WHERE shard = $1), 0) AS resends,
        pg_current_xact_id()::text::bigint AS xid,
        pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS oldest_xid
"""


class LeaseLost(Exception):
    """Another relay leads the shard now."""


class OutboxPages:
    """One shard's outbox, as the relay sees it over one database connection and while it holds the lease once."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]", *, shard: int, lease: Lease) -> None:
        self._connection = connection
        self._shard = shard
        self._lease = lease
        self.partitions = PinnedPartitions(connection)
        """Read after the lease was acquired. They change only while somebody else holds it."""
        self._watermark = Watermark()
        self._unmoved: list[Acknowledged] = []
        self._move_at = 0.0

    async def fetch(self, *, without_topics: Sequence[str]) -> list[asyncpg.Record]:
        """Return the next rows that are neither acknowledged nor of these topics, at most PAGE_ROWS."""
        self._watermark.observe(oldest_xid=self._lease.oldest_xid)
        rows = await self._connection.fetch(
            PAGE,
            self._shard,
            self._watermark.next_after(),
            self._watermark.resends,
            [one.row_id for one in self._unmoved],
            without_topics,
            PAGE_ROWS,
            self._lease.owner,
            self._lease.epoch,
        )
        if not without_topics:
            self._watermark.fetched(rows[0]["id"] if rows else None)
        return rows

    def acknowledge(self, sent: Sequence[Acknowledged]) -> None:
        """Note rows that all in-sync replicas have stored."""
        if sent and not self._unmoved:
            self._move_at = time.monotonic() + MOVE_DELAY_SECONDS
        self._unmoved += sent

    @property
    def move_at(self) -> float | None:
        """The time of the monotonic clock at which to call `move`; None without acknowledged rows."""
        if not self._unmoved:
            return None
        return self._move_at if len(self._unmoved) < MOVE_ROWS else 0.0

    async def move(self) -> int:
        """Move acknowledged rows to `outbox_sent`, and renew the lease; return their number. Raises: LeaseLost."""
        if not self._unmoved:
            return 0
        moved, self._unmoved = self._unmoved, []
        outcome = await self._connection.fetchrow(
            _MOVE,
            self._shard,
            self._lease.owner,
            self._lease.epoch,
            self._lease.duration,
            [one.row_id for one in moved],
            [one.partition for one in moved],
            [one.offset for one in moved],
        )
        # The query has no FROM, so it always returns a row.
        if outcome is None or not outcome["is_leading"]:
            raise LeaseLost
        self._lease.renewed()
        self._watermark.moved(max(one.row_id for one in moved), xid=outcome["xid"], resends=outcome["resends"])
        self._watermark.observe(oldest_xid=outcome["oldest_xid"])
        return len(moved)

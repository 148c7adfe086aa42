"""The relay: moves a shard's outbox to Kafka in the order of its ids, one leader at a time."""

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Sequence

import asyncpg
import structlog

from shared.messaging import metrics
from shared.messaging.failpoints import failpoint
from shared.messaging.outbox.lease import Lease
from shared.messaging.outbox.publisher import Acknowledged, Publisher, PublishError
from shared.messaging.outbox.wake_up import CHANNEL
from shared.transient_errors import CONNECTION_ERRORS

logger = structlog.get_logger(__name__)

PAGE_ROWS = 1_000
MIN_POLL_SECONDS = 0.002
"""While events flow, a relay in another process than the writers' meets them by this: wake-ups are too few for it."""
POLL_SHARE = 0.25
"""Of the time for which nothing came: the next poll is so much later."""
MAX_POLL_SECONDS = 1.0
INITIAL_RETRY_DELAY_SECONDS = 0.2
MAX_RETRY_DELAY_SECONDS = 5.0

_NOTHING_WAITS_FOR_DISK = {"synchronous_commit": "off"}
"""For the relay's own statements: a server that crashes undoes the last of them, and those rows are sent again, as when
a relay dies before it moves them."""

_PAGE = """
    SELECT id, event_id, topic, key, sequence, type, source, dataschema, occurred_at, traceparent, tracestate, payload
    FROM outbox WHERE shard = $1 AND topic <> ALL($2::text[]) ORDER BY id LIMIT $3
"""

# Renewing the lease and moving the rows is one statement: a relay that lost its lease moves nothing.
_MOVE = """
    WITH lease AS (
        UPDATE relay_lease SET expires_at = clock_timestamp() + $4 WHERE shard = $1 AND owner = $2 AND epoch = $3
        RETURNING shard
    ), gone AS (
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
        FROM gone
    )
    SELECT EXISTS (SELECT FROM lease)
"""


class LeaseLost(Exception):
    """Another relay leads the shard now."""


class Relay:
    """Sends one shard. Several may run; the one that holds the lease works, the others stand by."""

    def __init__(self, *, dsn: str, publisher: Publisher, shard: int = 0, lease: Lease | None = None) -> None:
        self._dsn = dsn
        self._publisher = publisher
        self._shard = shard
        self._lease = lease or Lease(shard=shard, owner=str(uuid.uuid4()))
        self._wake = asyncio.Event()
        self._stop = asyncio.Event()
        self._backoffs: dict[str, tuple[float, float]] = {}
        self._heartbeat_at = time.monotonic()

    def wake(self) -> None:
        """Something was committed; don't wait for the next poll. Nothing to a relay that stands by."""
        if self._lease.is_held:
            self._wake.set()

    def stop(self) -> None:
        """End after the page in hand."""
        self._stop.set()
        self._wake.set()

    async def check(self) -> None:
        """For the health page. Raises: KafkaError, TimeoutError, OSError when Kafka does not answer."""
        await self._publisher.ping()

    @property
    def idle_seconds(self) -> float:
        """Time since the loop last turned."""
        return time.monotonic() - self._heartbeat_at

    @property
    def is_leader(self) -> bool:
        """Whether this process held the lease at its last turn."""
        return self._lease.is_held

    async def run(self) -> None:
        """Work until `stop`; whatever goes wrong is tried again for ever."""
        delay = INITIAL_RETRY_DELAY_SECONDS
        while not self._stop.is_set():
            # An attempt to connect is a heartbeat too: a restart would not bring PostgreSQL back.
            self._heartbeat_at = time.monotonic()
            try:
                connection = await asyncpg.connect(
                    self._dsn, timeout=5, command_timeout=15, server_settings=_NOTHING_WAITS_FOR_DISK
                )
                try:
                    await self._work(connection)
                    delay = INITIAL_RETRY_DELAY_SECONDS
                finally:
                    connection.terminate()
            except (LeaseLost, *CONNECTION_ERRORS) as error:
                logger.warning("relay_interrupted", shard=self._shard, error=repr(error))
                self._lease.lose()
                await self._wait(delay, until=self._stop)
                delay = min(delay * 2, MAX_RETRY_DELAY_SECONDS)

    async def close(self) -> None:
        """Give up the producer; after `run` has ended."""
        await self._publisher.close()

    async def _work(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        last_page = time.monotonic()
        await connection.add_listener(CHANNEL, lambda *_: self.wake())
        while not self._stop.is_set():
            self._heartbeat_at = time.monotonic()
            self._wake.clear()
            if not await self._lease.hold(connection):
                await self._wait(MAX_POLL_SECONDS, until=self._stop)
                continue
            broken = [topic for topic, (until, _) in self._backoffs.items() if until > time.monotonic()]
            rows = await connection.fetch(_PAGE, self._shard, broken, PAGE_ROWS)
            if rows:
                failpoint("relay.fetched")
                await self._send(connection, rows)
                last_page = time.monotonic()
            if len(rows) < PAGE_ROWS:
                quiet = time.monotonic() - last_page
                poll = max(MIN_POLL_SECONDS, min(quiet * POLL_SHARE, MAX_POLL_SECONDS))
                await self._wait(poll, until=self._wake)
        await self._lease.release(connection)

    async def _send(self, connection: "asyncpg.Connection[asyncpg.Record]", rows: Sequence[asyncpg.Record]) -> None:
        sent, failed = await self._publisher.publish(rows)
        for topic, error in failed.items():
            self._back_off(topic, error)
        if not sent:
            return
        failpoint("relay.acked")
        await self._move(connection, sent)
        failpoint("relay.moved")
        _count(rows, sent)
        for topic in {row["topic"] for row in rows} - set(failed):
            self._backoffs.pop(topic, None)

    async def _move(self, connection: "asyncpg.Connection[asyncpg.Record]", sent: Sequence[Acknowledged]) -> None:
        still_leading = await connection.fetchval(
            _MOVE,
            self._shard,
            self._lease.owner,
            self._lease.epoch,
            self._lease.duration,
            [one.row_id for one in sent],
            [one.partition for one in sent],
            [one.offset for one in sent],
        )
        if not still_leading:
            raise LeaseLost
        self._lease.renewed()

    def _back_off(self, topic: str, error: PublishError) -> None:
        """Leave a failing topic alone for a while, so that it does not hold up the others."""
        _, seconds = self._backoffs.get(topic, (0.0, INITIAL_RETRY_DELAY_SECONDS / 2))
        seconds = min(seconds * 2, MAX_RETRY_DELAY_SECONDS)
        self._backoffs[topic] = (time.monotonic() + seconds, seconds)
        logger.warning("publish_failed", topic=topic, error=repr(error), retry_in_seconds=seconds)

    async def _wait(self, seconds: float, *, until: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(seconds):
                await until.wait()
        except TimeoutError:
            return


def _count(rows: Sequence[asyncpg.Record], sent: Sequence[Acknowledged]) -> None:
    now = time.time()
    acknowledged = {one.row_id for one in sent}
    counted = [row for row in rows if row["id"] in acknowledged]
    for topic, events in Counter(row["topic"] for row in counted).items():
        metrics.PUBLISHED.labels(topic).inc(events)
    metrics.COMMIT_TO_KAFKA.observe_all([max(0.0, now - row["occurred_at"].timestamp()) for row in counted])

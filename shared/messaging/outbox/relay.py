"""The relay: publishes a shard's outbox to Kafka in the order of its ids. One relay leads, the others stand by."""

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import asyncpg
import structlog

from shared.connection_errors import CONNECTION_ERRORS
from shared.error_descriptions import describe_error
from shared.exemplars import exemplar_of_largest
from shared.heartbeat import Heartbeat
from shared.messaging import metrics
from shared.messaging.failpoints import failpoint
from shared.messaging.outbox.lease import Lease
from shared.messaging.outbox.pages import PAGE_ROWS, LeaseLost, OutboxPages
from shared.messaging.outbox.publisher import Acknowledged, Publisher
from shared.messaging.outbox.wake_up import CHANNEL
from shared.messaging.spans import traced_page

logger = structlog.get_logger(__name__)

POLL_INTERVAL_SECONDS = 1.0
"""The poll interval of a leader, in case a wake-up was lost, and of a relay that stands by."""
INITIAL_RETRY_DELAY_SECONDS = 0.2
"""Delay before the first retry, of a topic and of the database connection; doubles each time."""
MAX_RETRY_DELAY_SECONDS = 5.0

_SERVER_SETTINGS = {"synchronous_commit": "off"}
"""The relay's own transactions do not wait for the disk. If the server crashes, it loses the last of them, and the
relay publishes those rows again, as after the death of a relay that had not moved them yet."""


class _Backoff(NamedTuple):
    delay_seconds: float
    until: float


class TopicBackoffs:
    """The topics that failed lately. The relay leaves them out until their delay is over, and publishes the others."""

    def __init__(self) -> None:
        self._backoffs: dict[str, _Backoff] = {}

    def active(self) -> list[str]:
        """Return the topics whose delay is not over yet."""
        now = time.monotonic()
        return [topic for topic, backoff in self._backoffs.items() if backoff.until > now]

    def failed(self, topic: str) -> float:
        """Note a failure; return the delay before the topic's next try, in seconds."""
        previous = self._backoffs.get(topic)
        delay = INITIAL_RETRY_DELAY_SECONDS if previous is None else previous.delay_seconds * 2
        delay = min(delay, MAX_RETRY_DELAY_SECONDS)
        self._backoffs[topic] = _Backoff(delay, time.monotonic() + delay)
        return delay

    def succeeded(self, topic: str) -> None:
        """Note that Kafka has acknowledged the topic's events."""
        self._backoffs.pop(topic, None)


class Relay:
    """Publishes one shard. Several processes may run one: the relay that holds the lease leads, the others stand by."""

    def __init__(
        self,
        *,
        dsn: str,
        publisher: Publisher,
        shard: int = 0,
        lease: Lease | None = None,
        poll_interval_seconds: float = POLL_INTERVAL_SECONDS,
        linger_seconds: float = 0.0,
    ) -> None:
        """Publish events `linger_seconds` after the wake-up, together with those that are committed meanwhile."""
        self._dsn = dsn
        self._publisher = publisher
        self._shard = shard
        self._poll_interval_seconds = poll_interval_seconds
        self._linger_seconds = linger_seconds
        self._lease = lease or Lease(shard=shard, owner=str(uuid.uuid4()))
        self._wake = asyncio.Event()
        self._stop = asyncio.Event()
        self._backoffs = TopicBackoffs()
        self.heartbeat = Heartbeat("relay")

    def wake(self) -> None:
        """Fetch the next page now instead of at the next poll, because events were committed.

        A relay that stands by ignores it.
        """
        if self._lease.is_held:
            self._wake.set()

    def stop(self) -> None:
        """End `run` after one more page, so that the last commits do not wait for the next relay."""
        self._stop.set()
        self._wake.set()

    async def check(self) -> None:
        """Check Kafka for the health page. Raises: KafkaError, TimeoutError, OSError if Kafka does not answer."""
        await self._publisher.ping()

    @property
    def is_leader(self) -> bool:
        """Return whether this process held the lease at its last heartbeat."""
        return self._lease.is_held

    async def run(self) -> None:
        """Publish until `stop`. Database errors are retried without limit, with backoff."""
        delay = INITIAL_RETRY_DELAY_SECONDS
        while not self._stop.is_set():
            self.heartbeat.beat()
            try:
                connection = await asyncpg.connect(
                    self._dsn, timeout=5, command_timeout=15, server_settings=_SERVER_SETTINGS
                )
                try:
                    await self._work(connection)
                    delay = INITIAL_RETRY_DELAY_SECONDS
                finally:
                    connection.terminate()
            except (LeaseLost, *CONNECTION_ERRORS) as error:
                logger.warning("relay_interrupted", shard=self._shard, error=describe_error(error))
                self._lease.lose()
                self.heartbeat.failed()
                await self._wait(delay, until=self._stop)
                delay = min(delay * 2, MAX_RETRY_DELAY_SECONDS)

    async def close(self) -> None:
        """Close the producer. Call it after `run` has ended."""
        await self._publisher.close()

    async def _work(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        pages = OutboxPages(connection, shard=self._shard, lease=self._lease)
        await connection.add_listener(CHANNEL, lambda *_: self.wake())
        poll_at, stopping = 0.0, False
        while not stopping:
            stopping = self._stop.is_set()
            self.heartbeat.beat()
            if not await self._lease.hold(connection):
                self.heartbeat.succeeded()
                # Another relay may publish and move what this one has acknowledged, and an operator may resend it.
                pages = OutboxPages(connection, shard=self._shard, lease=self._lease)
                await self._wait(self._poll_interval_seconds, until=self._stop)
                continue
            if pages.move_at is not None and pages.move_at <= time.monotonic():
                await self._move(pages)
            if stopping:
                poll_at = 0.0
            elif self._wake.is_set():
                self._wake.clear()
                poll_at = min(poll_at, time.monotonic() + self._linger_seconds)
            if poll_at <= time.monotonic():
                poll_at = time.monotonic() + await self._publish_page(pages)
                if pages.move_at is None:
                    self.heartbeat.succeeded()
            next_at = poll_at if pages.move_at is None else min(poll_at, pages.move_at)
            # `stop` may have come during a statement, and its wake-up may be gone.
            if not self._stop.is_set():
                await self._wait(next_at - time.monotonic(), until=self._wake)
        await self._move(pages)
        await self._lease.release(connection)

    async def _publish_page(self, pages: OutboxPages) -> float:
        """Fetch a page and publish it; return the seconds until the next one."""
        rows = await pages.fetch(without_topics=self._backoffs.active())
        if not rows:
            return self._poll_interval_seconds
        failpoint("relay.fetched")
        with traced_page(len(rows)):
            sent, failed = await self._publisher.publish(rows, partitions_of=pages.partitions.of)
        pages.acknowledge(sent)
        for topic in {row["topic"] for row in rows} - set(failed):
            self._backoffs.succeeded(topic)
        if sent:
            failpoint("relay.acked")
            _count(rows, sent)
        delays = [self._poll_interval_seconds if len(rows) < PAGE_ROWS else 0.0]
        for topic, error in failed.items():
            delays.append(self._backoffs.failed(topic))
            logger.warning("publish_failed", topic=topic, error=describe_error(error), retry_delay_seconds=delays[-1])
        return min(delays)

    async def _move(self, pages: OutboxPages) -> None:
        if await pages.move():
            failpoint("relay.moved")
        self.heartbeat.succeeded()

    async def _wait(self, seconds: float, *, until: asyncio.Event) -> None:
        if seconds <= 0:
            return
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
    delays = [max(0.0, now - row["occurred_at"].timestamp()) for row in counted]
    exemplar = exemplar_of_largest(delays, lambda index: counted[index]["traceparent"])
    metrics.COMMIT_TO_KAFKA.observe_all(delays, exemplar=exemplar)

"""Applying what one consumer fetched: batches in transactions, transient errors retried, failing events isolated."""

import asyncio
import math
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Protocol

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database import Sessions
from shared.error_descriptions import describe_error
from shared.heartbeat import Heartbeat
from shared.messaging import metrics
from shared.messaging.consumer.batch import HandlerFailed, apply_batch, store_dead_letter
from shared.messaging.consumer.dispatch import classify
from shared.messaging.consumer.gaps import SequenceGaps
from shared.messaging.consumer.inbox import GenerationChanged
from shared.messaging.consumer.progress import BatchResult
from shared.messaging.consumer.subscription import Subscription
from shared.messaging.dead_letters.store import NewDeadLetter
from shared.messaging.envelope import Place, Received, Record, decode_records
from shared.messaging.spans import TracedBatch, traced_batch
from shared.transient_errors import is_transient

logger = structlog.get_logger(__name__)

MAX_FETCH_EVENTS = 12_000
"""Just above one full fetch, 1 MiB from each of six partitions; a lower cap leaves a tiny remainder fetch."""
FETCH_SECONDS = 3.0
"""Target time for one fetch. A longer one keeps working on partitions that another member has been assigned, and the
two then wait for each other's locks in every transaction."""
MAX_BATCH_EVENTS = 2_000
"""Upper bound of events per transaction."""
BATCH_SECONDS = 1.0
"""Target time for one transaction: a killed process repeats at most this much work."""
INITIAL_EVENTS = 100
"""Size of a process's first fetch and of its first batch, while its pace is unknown."""
MAX_SAVEPOINT_ROUNDS = 4
"""Tries of a batch before every call gets a savepoint: the first has none, the others one for each failed call."""
MAX_HEARTBEAT_AGE_SECONDS = 30.0
"""A consumer that neither polled nor ended a transaction for this long, and is not backing off, is stuck."""
BACKING_OFF_SECONDS = 30.0
"""Time after a transient error for which a worker counts as backing off: longer than one try with its time-outs."""


class Apply(Protocol):
    """Applies events within a transaction that the caller commits."""

    async def __call__(self, session: AsyncSession, *, events: Sequence[Received]) -> BatchResult: ...


class ServiceUnavailable(Exception):
    """A transient error lasted longer than the worker retries in place, or the process is stopping."""


class DatabaseWentBack(ServiceUnavailable):
    """The database may have lost events that were applied: the worker's fetch is of no use."""


class Backoff:
    """Delays between retries: 50 ms, doubling to 5 s, with jitter, until `max_seconds` have passed."""

    initial_delay_seconds = 0.05
    max_delay_seconds = 5.0

    def __init__(self, *, max_seconds: float) -> None:
        self._until = time.monotonic() + max_seconds
        self._delay_seconds = self.initial_delay_seconds

    def next_delay(self) -> float | None:
        """Return the seconds to wait before the next try; None if there is to be none."""
        if time.monotonic() >= self._until:
            return None
        delay_seconds = self._delay_seconds * random.uniform(0.5, 1.0)  # noqa: S311 - jitter is no secret
        self._delay_seconds = min(self._delay_seconds * 2, self.max_delay_seconds)
        return delay_seconds


class Pace:
    """The number of events that fit into `seconds`, judged by the last ones."""

    def __init__(self, *, seconds: float, max_events: int) -> None:
        self.events = INITIAL_EVENTS
        self._seconds = seconds
        self._max_events = max_events

    @contextmanager
    def measuring(self, events: int) -> Iterator[None]:
        """Measure how long these events take. The pace at most doubles: repeated events are quick, new ones are not."""
        began_at = time.monotonic()
        yield
        fitting = int(events * self._seconds / max(time.monotonic() - began_at, 0.001))
        self.events = max(1, min(fitting, self.events * 2, self._max_events))


class ConsumerWorker:
    """Applies the events of one subscription. `name` is the consumer group, and the consumer in the inbox."""

    def __init__(
        self, *, name: str, subscription: Subscription, sessions: Sessions, max_retry_seconds: float = 60.0
    ) -> None:
        """Retry transient errors in place for `max_retry_seconds`.

        Meanwhile this member does not poll, so stay below the group's limit.
        """
        self.name = name
        self.subscription = subscription
        self.sessions = sessions
        self._max_retry_seconds = max_retry_seconds
        self._stopping = asyncio.Event()
        self._failed_at = -math.inf
        self.generation: int | None = None
        """The database's generation when the member chose where to begin; batches of another one are given up."""
        self.heartbeat = Heartbeat(name, max_age_seconds=MAX_HEARTBEAT_AGE_SECONDS)
        self._fetch = Pace(seconds=FETCH_SECONDS, max_events=MAX_FETCH_EVENTS)
        self._batch = Pace(seconds=BATCH_SECONDS, max_events=MAX_BATCH_EVENTS)
        self.gaps = SequenceGaps(name, source=subscription.source)
        metrics.begin_at_zero(name)

    @property
    def fetch_events(self) -> int:
        """The number of events that the next fetch should have."""
        return self._fetch.events

    @property
    def is_backing_off(self) -> bool:
        """Return whether it waits for a transient error to go away. Liveness must not restart the process for that."""
        return time.monotonic() - self._failed_at < BACKING_OFF_SECONDS

    def stop(self) -> None:
        """Let the current fetch finish; if it has to retry a transient error, give it up."""
        self._stopping.set()

    async def sleep(self, seconds: float) -> None:
        """Sleep, but wake up at `stop`."""
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return

    async def apply(self, records: Sequence[Record]) -> None:
        """Apply one fetch, each partition in order. Raises: ServiceUnavailable, DatabaseWentBack, unexpected errors.

        Events of ignored types are dropped here, so that they cost no transaction and do not change the pace.
        Partitions with few records share a transaction; those with many are applied side by side.
        """
        records = [record for record in records if self._is_handled(record)]
        if not records:
            return
        slots = asyncio.Semaphore(self.subscription.batches_at_once)
        with self._fetch.measuring(len(records)):
            # Let all of them end before raising: a fetch must not be given up while a part of it is still at work.
            outcomes = await asyncio.gather(
                *(
                    self._apply_in_batches(each, slots=slots)
                    for each in _shares(records, max_events=self._batch.events)
                ),
                return_exceptions=True,
            )
            for outcome in outcomes:
                if outcome is not None:
                    raise outcome

    def _is_handled(self, record: Record) -> bool:
        """Note a record's sequence, and return whether a handler wants it. Ignored events count in sequences, too."""
        headers = dict(record.headers)
        self.gaps.note(record, headers)
        return not self.subscription.ignores(headers)

    async def _apply_in_batches(self, records: Sequence[Record], *, slots: asyncio.Semaphore) -> None:
        async with slots:
            with metrics.SHARE_SECONDS.labels(self.name).time():
                while records:
                    batch, records = records[: self._batch.events], records[self._batch.events :]
                    with self._batch.measuring(len(batch)):
                        # Decode no earlier: meanwhile the database works on another batch.
                        await self._apply_batch(decode_records(batch))

    async def _apply_batch(self, events: Sequence[Received]) -> None:
        """Apply a batch as a whole; put failing calls into savepoints; if even the commit fails, go one by one."""
        savepoints: set[Place] = set()
        try:
            for _ in range(MAX_SAVEPOINT_ROUNDS):
                try:
                    await self._in_transaction(self._batch_of(savepoints), events)
                except HandlerFailed as failed:
                    savepoints |= failed.places
                    metrics.RETRIES.labels(self.name).inc()
                else:
                    return
            await self._in_transaction(self._batch_of({event.place for event in events}), events)
        except ServiceUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it was, trying one by one shows whose it is
            logger.warning("batch_failed", consumer=self.name, events=len(events), error=describe_error(error))
            for event in events:
                await self._apply_alone(event)

    async def _apply_alone(self, event: Received) -> None:
        """Apply one event in a separate transaction; store it as a dead letter if that fails."""
        try:
            await self._in_transaction(self._batch_of({event.place}), [event])
        except ServiceUnavailable:
            raise
        except Exception as error:
            logger.exception("event_commit_failed", consumer=self.name, partition=event.partition, offset=event.offset)
            reason, description = classify(error)

            async def store(session: AsyncSession, *, events: Sequence[Received]) -> BatchResult:
                dead_letter = NewDeadLetter(events[0], reason, description)
                topic = self.subscription.topic
                return await store_dead_letter(session, consumer=self.name, topic=topic, dead_letter=dead_letter)

            await self._in_transaction(store, [event])

    def _batch_of(self, savepoints: set[Place]) -> Apply:
        return partial(
            apply_batch,
            consumer=self.name,
            subscription=self.subscription,
            savepoints=savepoints,
            generation=self.generation,
        )

    async def _in_transaction(self, work: Apply, events: Sequence[Received]) -> None:
        """Commit `work`, retrying transient errors. Raises: ServiceUnavailable, other errors that are not transient."""
        backoff = Backoff(max_seconds=self._max_retry_seconds)
        with traced_batch(events, consumer=self.name) as traced:
            while True:
                try:
                    async with self.sessions.begin() as session:
                        result = await work(session, events=traced.events)
                except GenerationChanged as changed:
                    raise DatabaseWentBack from changed
                except Exception as error:
                    self.heartbeat.failed()
                    if not is_transient(error):
                        raise
                    await self._back_off(backoff, error, traced)
                else:
                    self.heartbeat.succeeded()
                    traced.committed(applied=result.applied, dead_letters=result.reasons())
                    result.report(consumer=self.name)
                    return

    async def _back_off(self, backoff: Backoff, error: Exception, traced: TracedBatch) -> None:
        """Wait before the next try. Raises: ServiceUnavailable if there is to be none."""
        metrics.RETRIES.labels(self.name).inc()
        self._failed_at = time.monotonic()
        delay_seconds = backoff.next_delay()
        if delay_seconds is None or self._stopping.is_set():
            raise ServiceUnavailable from error
        description, delay_seconds = describe_error(error), round(delay_seconds, 3)
        logger.warning("batch_retried", consumer=self.name, error=description, retry_delay_seconds=delay_seconds)
        traced.retried(description, delay_seconds=delay_seconds)
        await self.sleep(delay_seconds)


def _shares(records: Sequence[Record], *, max_events: int) -> list[list[Record]]:
    """Divide a fetch into shares of whole partitions, each with at most `max_events` or a single partition."""
    partitions: dict[int, list[Record]] = {}
    for record in records:
        partitions.setdefault(record.partition, []).append(record)
    shares: list[list[Record]] = []
    for partition in partitions.values():
        if shares and len(shares[-1]) + len(partition) <= max_events:
            shares[-1] += partition
        else:
            shares.append(partition)
    return shares

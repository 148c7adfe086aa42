"""One consumer group on one topic: batches in, slices applied, offsets committed after the effects.

Nothing leaves `handle`: FastStream would take an exception as a reason to go on with the next batch.
"""

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any

import structlog
from aiokafka.errors import KafkaError
from faststream.kafka import KafkaMessage
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database import Sessions
from shared.faults import is_passing
from shared.messaging import metrics
from shared.messaging.dead_letter import ParkReason
from shared.messaging.envelope import Received, Record, read_records
from shared.messaging.failpoints import failpoint
from shared.messaging.handling import HandlerFailed, verdict_on
from shared.messaging.slices import SliceResult, apply_slice, park_event, report
from shared.messaging.subscription import Subscription

logger = structlog.get_logger(__name__)

FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 5.0
PATIENCE_SECONDS = 60.0
"""How long a batch is retried in place before it is given back, so that the group sees this member poll."""
MOST_BATCH_EVENTS = 12_000
"""More than a fetch brings of events of 700 bytes, 1 MiB from each of six partitions; cut, it leaves a small batch."""
BATCH_SECONDS = 3.0
"""So long may one batch take: a partition that is given to another member is still worked on to its end, and both then
wait for each other at every transaction."""
MOST_SLICE_EVENTS = 2_000
"""In one transaction, if they are quick."""
SLICE_SECONDS = 1.0
"""So long may one transaction take: what is killed on the way has to be done again."""
FIRST_EVENTS = 100
"""In a process's first batch, and in its first transaction: its pace is not known yet."""
SUSPICIONS = 4
"""How often a slice is tried with savepoints for those alone that failed: one failing event costs one more try."""
COMMIT_TIMEOUT_SECONDS = 10.0
TROUBLE_SECONDS = 30.0
"""So long a fault explains that no batch ends: longer than one try, with its time-outs, may take."""


class ServiceUnavailable(Exception):
    """The infrastructure stayed away for longer than PATIENCE_SECONDS."""


class Consumer:
    """Applies what one subscription's topic brings. `name` is the consumer group and the inbox's consumer."""

    def __init__(self, *, name: str, subscription: Subscription, sessions: Sessions) -> None:
        self.name = name
        self.subscription = subscription
        self._sessions = sessions
        self._stopping = asyncio.Event()
        self._troubled_at = -math.inf
        self._worked_at = -math.inf
        self._batch = _Pace(seconds=BATCH_SECONDS, most=MOST_BATCH_EVENTS)
        self._slice = _Pace(seconds=SLICE_SECONDS, most=MOST_SLICE_EVENTS)

    @property
    def idle_seconds(self) -> float:
        """Since a transaction of it ended, whichever way."""
        return time.monotonic() - self._worked_at

    @property
    def batch_events(self) -> int:
        """How many the next batch should have."""
        return self._batch.events

    @property
    def backing_off(self) -> bool:
        """True while trouble is known and waited for; liveness must not end the process for it."""
        return time.monotonic() - self._troubled_at < TROUBLE_SECONDS

    async def handle(self, message: KafkaMessage) -> None:
        """Apply one batch, then commit its offsets. Never raises but for cancellation."""
        try:
            failpoint("consumer.received")
            records = _records_of(message)
            with self._batch.measuring(len(records)):
                await self._apply(records)
            failpoint("consumer.db_committed")
        except ServiceUnavailable:
            logger.warning("batch_given_back", consumer=self.name)
            await message.nack()
        except Exception:
            # Not foreseen, so not to be committed past: the batch comes again.
            logger.exception("batch_failed", consumer=self.name)
            await message.nack()
            await self._pause(LONGEST_PAUSE_SECONDS)
        else:
            await self._commit(message)
            failpoint("consumer.acked")

    def stop(self) -> None:
        """Cut short whatever wait is on; the batch in hand is given back."""
        self._stopping.set()

    async def _apply(self, records: Sequence[Record]) -> None:
        partitions = [
            list(records_of_one) for _, records_of_one in groupby(records, key=lambda record: record.partition)
        ]
        places = asyncio.Semaphore(self.subscription.partitions_at_once)

        async def apply_in_turn(of_one: Sequence[Record]) -> None:
            async with places:
                await self._apply_partition(of_one)

        # All of them end before a fault is told: the batch must not be given back while a part is still at work.
        outcomes = await asyncio.gather(*map(apply_in_turn, partitions), return_exceptions=True)
        for outcome in outcomes:
            if outcome is not None:
                raise outcome

    async def _apply_partition(self, records: Sequence[Record]) -> None:
        with metrics.HANDLER_SECONDS.labels(self.name).time():
            while records:
                some, records = records[: self._slice.events], records[self._slice.events :]
                with self._slice.measuring(len(some)):
                    # No earlier: while these are read, the database works on another partition's.
                    await self._apply_some(read_records(some))

    async def _apply_some(self, events: Sequence[Received]) -> None:
        """As a whole; what fails is found, guarded and parked; when even the commit fails, one by one."""
        suspects: set[int] = set()
        try:
            for _ in range(SUSPICIONS):
                try:
                    await self._in_transaction(self._apply_slice, events, guarded=suspects)
                except HandlerFailed as failed:
                    suspects |= failed.offsets
                    metrics.RETRIES.labels(self.name).inc()
                else:
                    return
            await self._in_transaction(self._apply_slice, events, guarded={event.offset for event in events})
        except ServiceUnavailable:
            raise
        except Exception as fault:  # noqa: BLE001 - whatever it was, the next tries find whose it is
            logger.warning("slice_failed", consumer=self.name, events=len(events), fault=repr(fault))
            for event in events:
                await self._apply_alone(event)

    async def _apply_alone(self, event: Received) -> None:
        """One transaction for one event; parks it when it can't be applied."""
        try:
            await self._in_transaction(self._apply_slice, [event], guarded={event.offset})
        except ServiceUnavailable:
            raise
        except Exception as fault:
            logger.exception("event_commit_failed", consumer=self.name, offset=event.offset)
            reason, error = verdict_on(fault)
            await self._in_transaction(self._park, event, reason=reason, error=error)

    async def _in_transaction(self, work: Callable[..., Awaitable[SliceResult]], *what: Any, **how: Any) -> None:
        """Trouble that passes is waited out. Raises: ServiceUnavailable, and what is not going to pass."""
        pauses = _Pauses()
        while True:
            try:
                async with self._sessions.begin() as session:
                    result = await work(session, *what, **how)
            except Exception as fault:
                if not is_passing(fault):
                    raise
                await self._wait_for_better(pauses, fault)
            else:
                report(result, consumer=self.name)
                return
            finally:
                self._worked_at = time.monotonic()

    async def _apply_slice(
        self, session: AsyncSession, events: Sequence[Received], *, guarded: Collection[int]
    ) -> SliceResult:
        return await apply_slice(
            session, consumer=self.name, subscription=self.subscription, events=events, guarded=guarded
        )

    async def _park(self, session: AsyncSession, event: Received, *, reason: ParkReason, error: str) -> SliceResult:
        return await park_event(
            session, consumer=self.name, topic=self.subscription.topic, event=event, reason=reason, error=error
        )

    async def _wait_for_better(self, pauses: "_Pauses", fault: Exception) -> None:
        """Raises: ServiceUnavailable when the patience is used up, or the process stops."""
        metrics.RETRIES.labels(self.name).inc()
        self._troubled_at = time.monotonic()
        pause = pauses.next()
        if pause is None or self._stopping.is_set():
            raise ServiceUnavailable from fault
        logger.warning("slice_retried", consumer=self.name, fault=repr(fault), pause_seconds=round(pause, 3))
        await self._pause(pause)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return

    async def _commit(self, message: KafkaMessage) -> None:
        try:
            async with asyncio.timeout(COMMIT_TIMEOUT_SECONDS):
                await message.ack()
        except (KafkaError, TimeoutError) as fault:
            # The effects are committed; if the batch comes again, the inbox knows it.
            logger.warning("offsets_not_committed", consumer=self.name, fault=repr(fault))


class _Pace:
    """How many events fit into some seconds, at the pace of the last ones; repeated ones are quick, so not at once."""

    def __init__(self, *, seconds: float, most: int) -> None:
        self.events = FIRST_EVENTS
        self._seconds = seconds
        self._most = most

    @contextmanager
    def measuring(self, events: int) -> Iterator[None]:
        """While these are at work."""
        began_at = time.monotonic()
        yield
        fitting = int(events * self._seconds / max(time.monotonic() - began_at, 0.001))
        self.events = max(1, min(fitting, self.events * 2, self._most))


class _Pauses:
    """50 ms, doubling to 5 s, with jitter, for as long as the patience lasts."""

    def __init__(self) -> None:
        self._until = time.monotonic() + PATIENCE_SECONDS
        self._seconds = FIRST_PAUSE_SECONDS

    def next(self) -> float | None:
        """Seconds to wait; None when the patience is used up."""
        if time.monotonic() >= self._until:
            return None
        seconds = self._seconds * random.uniform(0.5, 1.0)  # noqa: S311 - jitter is no secret
        self._seconds = min(self._seconds * 2, LONGEST_PAUSE_SECONDS)
        return seconds


def _records_of(message: KafkaMessage) -> tuple[Record, ...]:
    raw = message.raw_message
    return raw if isinstance(raw, tuple) else (raw,)

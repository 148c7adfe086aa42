"""One consumer group on one topic: batches in, slices applied, offsets committed after the effects.

Nothing leaves `handle`: FastStream would take an exception as a reason to go on with the next batch.
"""

import asyncio
import math
import random
import time
from collections.abc import Sequence
from itertools import groupby

import structlog
from aiokafka.errors import KafkaError
from faststream.kafka import KafkaMessage

from shared.database import Sessions
from shared.messaging import metrics
from shared.messaging.dead_letter import ParkReason
from shared.messaging.envelope import Received, read_records
from shared.messaging.failpoints import failpoint
from shared.messaging.faults import is_passing
from shared.messaging.slices import PoisonError, apply_slice, park_event, report
from shared.messaging.subscription import Subscription

logger = structlog.get_logger(__name__)

FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 5.0
PATIENCE_SECONDS = 60.0
"""How long a batch is retried in place before it is given back, so that the group sees this member poll."""
HANDLER_TRIES = 4
"""How often an event may fail for a reason of its own before it is parked."""
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

    @property
    def backing_off(self) -> bool:
        """True while trouble is known and waited for; liveness must not end the process for it."""
        return time.monotonic() - self._troubled_at < TROUBLE_SECONDS

    async def handle(self, message: KafkaMessage) -> None:
        """Apply one batch, then commit its offsets. Never raises but for cancellation."""
        try:
            failpoint("consumer.received")
            await self._apply(read_records(_records_of(message)))
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

    async def _apply(self, received: Sequence[Received]) -> None:
        slices = [list(slice_) for _, slice_ in groupby(received, key=lambda event: event.partition)]
        places = asyncio.Semaphore(self.subscription.partitions_at_once)

        async def apply_in_turn(events: Sequence[Received]) -> None:
            async with places:
                await self._apply_partition(events)

        # All of them end before a fault is told: the batch must not be given back while a part is still at work.
        outcomes = await asyncio.gather(*map(apply_in_turn, slices), return_exceptions=True)
        for outcome in outcomes:
            if outcome is not None:
                raise outcome

    async def _apply_partition(self, events: Sequence[Received]) -> None:
        with metrics.HANDLER_SECONDS.labels(self.name).time():
            if not await self._apply_at_once(events):
                for event in events:
                    await self._apply_alone(event)

    async def _apply_at_once(self, events: Sequence[Received]) -> bool:
        """One transaction for all; False when one of them must be found and set aside."""
        pauses = _Pauses()
        while True:
            try:
                async with self._sessions.begin() as session:
                    result = await apply_slice(
                        session, consumer=self.name, subscription=self.subscription, events=events
                    )
            except Exception as fault:  # noqa: BLE001 - sorted into what passes and what must be found
                if not is_passing(fault):
                    logger.warning("slice_failed", consumer=self.name, events=len(events), fault=repr(fault))
                    return False
                await self._wait_for_better(pauses, fault)
            else:
                report(result, consumer=self.name)
                return True

    async def _apply_alone(self, event: Received) -> None:
        """One transaction for one event; parks it when it can't be applied."""
        pauses = _Pauses()
        failures = 0
        while True:
            try:
                async with self._sessions.begin() as session:
                    result = await apply_slice(
                        session, consumer=self.name, subscription=self.subscription, events=[event]
                    )
            except PoisonError as poison:
                await self._park(event, poison.reason, poison.error)
                return
            except Exception as fault:
                if is_passing(fault):
                    await self._wait_for_better(pauses, fault)
                    continue
                failures += 1
                if failures >= HANDLER_TRIES:
                    logger.exception("event_handler_failed", consumer=self.name, offset=event.offset)
                    await self._park(event, ParkReason.TRIES_USED_UP, repr(fault))
                    return
                metrics.RETRIES.labels(self.name).inc()
                await self._pause(FIRST_PAUSE_SECONDS * 2**failures)
            else:
                report(result, consumer=self.name)
                return

    async def _park(self, event: Received, reason: ParkReason, error: str) -> None:
        pauses = _Pauses()
        while True:
            try:
                async with self._sessions.begin() as session:
                    result = await park_event(
                        session,
                        consumer=self.name,
                        topic=self.subscription.topic,
                        event=event,
                        reason=reason,
                        error=error,
                    )
            except Exception as fault:
                if not is_passing(fault):
                    raise
                await self._wait_for_better(pauses, fault)
            else:
                report(result, consumer=self.name)
                return

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


def _records_of(message: KafkaMessage) -> "tuple[object, ...]":
    raw = message.raw_message
    return raw if isinstance(raw, tuple) else (raw,)

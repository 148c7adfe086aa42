"""A member of one consumer group: fetches records for its worker, and commits their offsets afterwards."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import ConsumerStoppedError, IllegalStateError
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from faststream.kafka.subscriber.usecase import BatchSubscriber

from shared.error_descriptions import describe_error
from shared.messaging import metrics
from shared.messaging.consumer.bounded import bounded
from shared.messaging.consumer.offsets import AppliedOffsets
from shared.messaging.consumer.starting_positions import StartingPositions
from shared.messaging.consumer.worker import ConsumerWorker, DatabaseWentBack, ServiceUnavailable
from shared.messaging.envelope import Record
from shared.messaging.failpoints import failpoint
from shared.patches import aiokafka_liveness, aiokafka_records

aiokafka_records.install()

logger = structlog.get_logger(__name__)

POLL_SECONDS = 1.0
"""Time that a poll waits for records. It returns as soon as there are some."""
MAX_POLL_SECONDS = 10.0
"""Upper bound of a poll. aiokafka waits without limit for the group to assign partitions, as while Kafka is away."""
FAILED_FETCH_DELAY_SECONDS = 5.0
"""Delay before the next poll after an unexpected error."""
FAILED_CHECK_DELAY_SECONDS = 1.0
"""Delay before another check of the positions, while the database or Kafka is unavailable."""
START_TIMEOUT_SECONDS = 20.0
"""Time for a replaced consumer to start, before the watch tries again."""
STOP_TIMEOUT_SECONDS = 10.0
"""Time for the current fetch to end; then it is cancelled."""
CLOSE_TIMEOUT_SECONDS = 5.0
"""Time for a replaced consumer to leave its group and close its connections; then it is abandoned."""


class Member(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """Polls Kafka in a loop of its own. FastStream configures, starts and stops its consumer.

    FastStream's own loop sleeps after every poll without records, commits past a fetch whose handler raises, and parses
    headers strictly.
    """

    def __init__(self, worker: ConsumerWorker, *, broker: KafkaBroker, topic_prefix: str) -> None:
        self.worker = worker
        self._subscriber: BatchSubscriber = broker.subscriber(
            topic_prefix + worker.subscription.topic,
            group_id=topic_prefix + worker.name,
            batch=True,
            ack_policy=AckPolicy.MANUAL,
            auto_offset_reset="earliest",
            fetch_min_bytes=worker.subscription.fetch_min_bytes,
            isolation_level="read_committed",
            listener=self,
        )
        self._offsets = AppliedOffsets(consumer_name=worker.name)
        self._positions = StartingPositions(worker.name, worker.subscription.topic, worker.sessions)
        self._handling = asyncio.Lock()
        self._is_ending = False
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def has_died(self) -> bool:
        """Return whether it will never receive another record."""
        consumer = self._subscriber.consumer
        if consumer is None or not self._tasks or any(task.done() for task in self._tasks):
            return True
        return aiokafka_liveness.has_ended(consumer)

    @property
    def is_stuck(self) -> bool:
        """Return whether its last heartbeat is too old. A member that has died is replaced instead."""
        return not self.has_died and self.worker.heartbeat.is_stuck and not self.worker.is_backing_off

    @property
    def has_joined(self) -> bool:
        """Return whether it is in its group, with partitions or without."""
        consumer = self._subscriber.consumer
        return consumer is not None and aiokafka_liveness.has_joined(consumer)

    @property
    def assigned_partitions(self) -> int:
        """The number of partitions that it consumes now. A group with more members than partitions leaves some idle."""
        consumer = self._subscriber.consumer
        return 0 if consumer is None else len(consumer.assignment())

    @property
    def lag_events(self) -> int:
        """The number of records in its partitions that it has not applied, as of its last fetch. Asks Kafka nothing."""
        consumer = self._subscriber.consumer
        return 0 if consumer is None else self._offsets.lag_events(aiokafka_liveness.positions(consumer))

    def start(self) -> None:
        """Begin to poll. Call it after FastStream has started the consumer."""
        consumer = self._subscriber.consumer
        if consumer is None:
            raise RuntimeError("the consumer is not started")
        self._is_ending = False
        self.worker.heartbeat.beat()
        self._tasks = [
            asyncio.create_task(self._poll(consumer)),
            asyncio.create_task(self._offsets.run(consumer)),
        ]

    async def stop(self) -> None:
        """End polling after the current fetch, and commit its offsets. The consumer is still running then."""
        self.worker.stop()
        await self._end_tasks()
        if self._subscriber.consumer is not None:
            await self._offsets.commit(self._subscriber.consumer)

    async def restart(self) -> None:
        """Replace the consumer with a new one."""
        # Taken away from FastStream, which would wait for the old consumer without a limit.
        consumer, self._subscriber.consumer = self._subscriber.consumer, None
        await self._end_tasks()
        self._offsets.clear()
        if consumer is not None:
            await self._abandon(consumer)
        try:
            await self._subscriber.stop()
            await bounded(self._subscriber.start(), seconds=START_TIMEOUT_SECONDS)
            self.start()
        except Exception as error:  # noqa: BLE001 - the watch tries again
            logger.warning("consumer_not_started", consumer=self.worker.name, error=describe_error(error))

    async def _abandon(self, consumer: AIOKafkaConsumer) -> None:
        """Close a consumer that has died, or at least its connections."""
        try:
            await bounded(consumer.stop(), seconds=CLOSE_TIMEOUT_SECONDS)
        except Exception as error:  # noqa: BLE001 - it is abandoned either way
            logger.warning("consumer_not_stopped", consumer=self.worker.name, error=describe_error(error))
            with suppress(TimeoutError):
                await bounded(aiokafka_liveness.close_connections(consumer), seconds=CLOSE_TIMEOUT_SECONDS)

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Commit the applied offsets."""
        try:
            if self._subscriber.consumer is not None:
                await self._offsets.commit(self._subscriber.consumer)
        finally:
            self._offsets.drop(revoked)
            self._positions.revoked(revoked)

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Let their positions be checked before the next fetch is applied."""
        self._positions.assigned(assigned)
        # Others may have consumed these partitions since.
        self.worker.gaps.clear()
        metrics.REBALANCES.labels(self.worker.name).inc()

    async def handle(self, consumer: AIOKafkaConsumer, records: Sequence[Record]) -> None:
        """Apply one fetch. Does not raise: if it cannot be applied, Kafka delivers it again."""
        worker = self.worker
        try:
            self._offsets.begin(records)
            failpoint("consumer.received")
            await worker.apply(records)
            failpoint("consumer.db_committed")
        except DatabaseWentBack:
            logger.warning("database_went_back", consumer=worker.name)
            _seek_back(consumer, records)
            self._positions.distrust()
        except ServiceUnavailable:
            logger.warning("fetch_given_up", consumer=worker.name)
            _seek_back(consumer, records)
        except Exception:
            # Unexpected, so do not commit the offsets.
            logger.exception("fetch_failed", consumer=worker.name)
            _seek_back(consumer, records)
            await worker.sleep(FAILED_FETCH_DELAY_SECONDS)
        else:
            self._offsets.add(records)

    async def _poll(self, consumer: AIOKafkaConsumer) -> None:
        while not self._is_ending:
            try:
                async with asyncio.timeout(MAX_POLL_SECONDS):
                    fetched = await consumer.getmany(
                        timeout_ms=int(POLL_SECONDS * 1000), max_records=self.worker.fetch_events
                    )
            except TimeoutError:
                fetched = {}
            except ConsumerStoppedError:
                return
            except Exception:
                logger.exception("poll_failed", consumer=self.worker.name)
                self.worker.heartbeat.failed()
                await self.worker.sleep(FAILED_FETCH_DELAY_SECONDS)
                continue
            self.worker.heartbeat.beat()
            async with self._handling:
                if self._positions.is_due:
                    fetched = await self._checked(consumer, fetched)
                records = [record for partition in fetched.values() for record in partition]
                if records:
                    await self.handle(consumer, records)

    async def _checked(
        self, consumer: AIOKafkaConsumer, fetched: Mapping[TopicPartition, list[Record]]
    ) -> Mapping[TopicPartition, list[Record]]:
        """Check the positions; return what was fetched from right ones, or nothing if the check failed."""
        try:
            moved = await self._positions.check(consumer)
        except Exception as error:  # noqa: BLE001 - the database or Kafka is unavailable, so try again
            logger.warning("positions_not_checked", consumer=self.worker.name, error=describe_error(error))
            self.worker.heartbeat.failed()
            _seek_back(consumer, [record for partition in fetched.values() for record in partition])
            await self.worker.sleep(FAILED_CHECK_DELAY_SECONDS)
            return {}
        self.worker.heartbeat.succeeded()
        self._offsets.drop(moved)
        self.worker.generation = self._offsets.generation = self._positions.generation
        return {partition: records for partition, records in fetched.items() if partition not in moved}

    async def _end_tasks(self) -> None:
        """Cancel the loops; wait for the current fetch first, but not for longer than the time-out."""
        self._is_ending = True
        try:
            async with asyncio.timeout(STOP_TIMEOUT_SECONDS), self._handling:
                self._cancel_tasks()
        except TimeoutError:
            logger.warning("fetch_cancelled", consumer=self.worker.name)
            self._cancel_tasks()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=STOP_TIMEOUT_SECONDS)
            if late:
                logger.error("consumer_not_ended", consumer=self.worker.name)
        self._tasks = []

    def _cancel_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()


def _seek_back(consumer: AIOKafkaConsumer, records: Sequence[Record]) -> None:
    """Let Kafka deliver the records again, except those of partitions that another member has now."""
    first: dict[TopicPartition, int] = {}
    for record in records:
        first.setdefault(TopicPartition(record.topic, record.partition), record.offset)
    for partition, offset in first.items():
        try:
            consumer.seek(partition, offset)
        except IllegalStateError as error:
            logger.warning("partition_lost", partition=partition.partition, error=describe_error(error))

"""A service's consumer groups on one FastStream broker: joined once Kafka answers, watched, left in order."""

import asyncio
import logging
import time
from collections.abc import Sequence

import structlog
from aiokafka import ConsumerRecord
from aiokafka.errors import KafkaError
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from faststream.kafka.annotations import KafkaMessage
from faststream.kafka.message import KafkaAckableMessage
from faststream.kafka.subscriber.usecase import BatchSubscriber

from shared.health import Unhealthy
from shared.messaging import metrics
from shared.messaging.consumer.worker import ConsumerWorker, ServiceUnavailable
from shared.messaging.failpoints import failpoint
from shared.patches import aiokafka_liveness, aiokafka_records

aiokafka_records.install()

logger = structlog.get_logger(__name__)

POLL_TIMEOUT_MS = 10
"""FastStream polls for this long, then sleeps equally long without polling."""
COMMIT_TIMEOUT_SECONDS = 10.0
FAILED_FETCH_DELAY_SECONDS = 5.0
START_RETRY_DELAY_SECONDS = 2.0
STOP_TIMEOUT_SECONDS = 10.0
WATCH_INTERVAL_SECONDS = 1.0
MAX_HEARTBEAT_AGE_SECONDS = 30.0
"""A member that neither polled nor ended a transaction for this long, and is not backing off, is stuck."""


class Member:
    """A member of one consumer group: fetches records for its worker, commits their offsets afterwards."""

    def __init__(self, worker: ConsumerWorker, *, broker: KafkaBroker, topic_prefix: str) -> None:
        self.worker = worker
        self._subscriber: BatchSubscriber = broker.subscriber(
            topic_prefix + worker.subscription.topic,
            group_id=topic_prefix + worker.name,
            batch=True,
            ack_policy=AckPolicy.MANUAL,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            max_records=worker.fetch_events,
            batch_timeout_ms=POLL_TIMEOUT_MS,
            no_reply=True,
        )
        self._subscriber(parser=self._parse, decoder=_decode)(self.handle)

    def is_stuck(self, *, max_heartbeat_age_seconds: float) -> bool:
        """Return whether its loop has died or has shown no sign of life for too long."""
        if self.has_died:
            return True
        return self.idle_seconds > max_heartbeat_age_seconds and not self.worker.is_backing_off

    @property
    def idle_seconds(self) -> float:
        """Time since its last sign of life: a poll, or the end of a transaction."""
        consumer = self._subscriber.consumer
        if consumer is None:
            return self.worker.idle_seconds
        return min(aiokafka_liveness.idle_seconds(consumer), self.worker.idle_seconds)

    @property
    def has_died(self) -> bool:
        """Return whether it will never receive another record."""
        consumer, tasks = self._subscriber.consumer, self._subscriber.tasks
        if consumer is None or not tasks or all(task.done() for task in tasks):
            return True
        return aiokafka_liveness.coordination_has_ended(consumer)

    async def handle(self, message: KafkaMessage) -> None:
        """Apply one fetch, then commit its offsets. Does not raise.

        After an exception FastStream would continue with the next fetch and commit past this one.
        """
        worker = self.worker
        try:
            failpoint("consumer.received")
            await worker.apply(_records_of(message))
            failpoint("consumer.db_committed")
        except ServiceUnavailable:
            logger.warning("fetch_given_up", consumer=worker.name)
            await message.nack()
        except Exception:
            # Unexpected, so do not commit the offsets: Kafka delivers the records again.
            logger.exception("fetch_failed", consumer=worker.name)
            await message.nack()
            await worker.sleep(FAILED_FETCH_DELAY_SECONDS)
        else:
            await self._commit(message)
            failpoint("consumer.acked")
        self._subscriber.max_records = worker.fetch_events

    async def restart(self) -> None:
        """Replace the consumer with a new one."""
        try:
            async with asyncio.timeout(STOP_TIMEOUT_SECONDS + 5):
                await self._subscriber.stop()
        except Exception as error:  # noqa: BLE001 - the old consumer is abandoned either way
            logger.warning("consumer_not_stopped", consumer=self.worker.name, error=repr(error))
        try:
            await self._subscriber.start()
        except Exception as error:  # noqa: BLE001 - the watch tries again
            logger.warning("consumer_not_started", consumer=self.worker.name, error=repr(error))

    async def _commit(self, message: KafkaMessage) -> None:
        try:
            async with asyncio.timeout(COMMIT_TIMEOUT_SECONDS):
                await message.ack()
        except (KafkaError, TimeoutError) as error:
            # The effects are committed. If Kafka delivers the records again, the inbox knows them.
            logger.warning("offsets_not_committed", consumer=self.worker.name, error=repr(error))

    async def _parse(self, records: "tuple[ConsumerRecord[bytes, bytes], ...]") -> KafkaAckableMessage:
        # FastStream's own parser raises on a header that is not UTF-8, and the message would be lost.
        if self._subscriber.consumer is None:
            raise RuntimeError("records came from a consumer that is stopped")
        return KafkaAckableMessage(
            body=b"",
            headers={},
            raw_message=records,
            message_id=f"{records[0].topic}-{records[0].partition}-{records[0].offset}",
            consumer=self._subscriber.consumer,
        )


class ConsumerGroups:
    """Retries until Kafka answers, then joins the groups and stays in them until it is stopped."""

    def __init__(
        self,
        workers: Sequence[ConsumerWorker],
        *,
        bootstrap_servers: str,
        client_id: str,
        topic_prefix: str = "",
        max_heartbeat_age_seconds: float = MAX_HEARTBEAT_AGE_SECONDS,
    ) -> None:
        self._running = False
        self._watching: asyncio.Task[None] | None = None
        self._broker = KafkaBroker(
            # FastStream takes a string for one server, where aiokafka would split it.
            bootstrap_servers.split(","),
            client_id=client_id,
            consumer_only=True,
            allow_auto_create_topics=False,
            graceful_timeout=STOP_TIMEOUT_SECONDS,
            logger=logging.getLogger("shared.messaging.faststream"),
            log_level=logging.DEBUG,
        )
        self._members = [Member(worker, broker=self._broker, topic_prefix=topic_prefix) for worker in workers]
        self._max_heartbeat_age_seconds = max_heartbeat_age_seconds

    async def run(self) -> None:
        """Join the groups, retrying until it works. FastStream's tasks consume from then on, watched by one of ours."""
        while self._members and not self._running:
            try:
                await self._broker.start()
                self._running = True
                self._watching = asyncio.create_task(self._watch())
            except (KafkaError, OSError) as error:
                logger.warning("consumer_groups_not_started", error=repr(error))
                await self._stop_broker()
                await asyncio.sleep(START_RETRY_DELAY_SECONDS)

    async def stop(self) -> None:
        """Let the current fetches finish, and leave the groups, within a time-out."""
        if self._watching is not None:
            self._watching.cancel()
        for member in self._members:
            member.worker.stop()
        await self._stop_broker()

    def stuck(self) -> list[str]:
        """Return the names of the consumers that are stuck."""
        if not self._running:
            return []
        max_age = self._max_heartbeat_age_seconds
        return [member.worker.name for member in self._members if member.is_stuck(max_heartbeat_age_seconds=max_age)]

    async def check(self) -> None:
        """Check the consumers for the health page. Raises: Unhealthy."""
        if self._members and not self._running:
            raise Unhealthy("not started yet")
        if stuck := self.stuck():
            raise Unhealthy(", ".join(stuck))

    async def _watch(self) -> None:
        """Set the heartbeats, and restart dead members.

        A socket error can end aiokafka's coordination, and FastStream keeps polling it.
        """
        while True:
            await asyncio.sleep(WATCH_INTERVAL_SECONDS)
            for member in self._members:
                if member.has_died:
                    logger.error("consumer_died", consumer=member.worker.name)
                    await member.restart()
                else:
                    metrics.HEARTBEAT.labels(member.worker.name).set(time.time() - member.idle_seconds)

    async def _stop_broker(self) -> None:
        self._running = False
        try:
            async with asyncio.timeout(STOP_TIMEOUT_SECONDS + 5):
                await self._broker.stop()
        except (KafkaError, OSError) as error:
            logger.warning("consumer_groups_not_stopped", error=repr(error))


async def _decode(_message: KafkaAckableMessage) -> bytes:
    return b""


def _records_of(message: KafkaMessage) -> "tuple[ConsumerRecord[bytes, bytes], ...]":
    raw = message.raw_message
    return raw if isinstance(raw, tuple) else (raw,)

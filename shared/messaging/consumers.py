"""A service's consumer groups on one FastStream broker: started when Kafka can be had, watched, stopped in order."""

import asyncio
import logging
import time
from collections.abc import Sequence

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.errors import KafkaError
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from faststream.kafka.annotations import KafkaMessage
from faststream.kafka.message import KafkaAckableMessage
from faststream.kafka.subscriber.usecase import BatchSubscriber

from shared.health import Unhealthy
from shared.messaging import metrics, tolerant_records
from shared.messaging.consumer import Consumer

tolerant_records.install()

logger = structlog.get_logger(__name__)

BATCH_TIMEOUT_MS = 10
"""FastStream waits so long for records, and then sleeps as long again, deaf to what arrives."""
START_PAUSE_SECONDS = 2.0
STOP_TIMEOUT_SECONDS = 10.0
WATCH_SECONDS = 1.0
LONGEST_TURN_SECONDS = 30.0
"""A consumer that has neither asked for more nor ended a transaction for so long, and does not say why, is stuck."""


class Consumers:
    """Runs consumers until stopped. Kafka's absence at the start is waited out in the background."""

    def __init__(
        self, consumers: Sequence[Consumer], *, bootstrap_servers: str, client_id: str, topic_prefix: str = ""
    ) -> None:
        self._consumers = consumers
        self._topic_prefix = topic_prefix
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
        self._subscribers = {consumer.name: self._subscribe(consumer) for consumer in consumers}

    async def run(self) -> None:
        """Start, and try again until it works; consuming goes on in FastStream's tasks, watched by one of ours."""
        while self._consumers and not self._running:
            try:
                await self._broker.start()
                self._running = True
                self._watching = asyncio.create_task(self._watch())
            except (KafkaError, OSError, TimeoutError) as fault:
                logger.warning("consumers_not_started", fault=repr(fault))
                await self._stop_broker()
                await asyncio.sleep(START_PAUSE_SECONDS)

    async def stop(self) -> None:
        """Let the batches in hand finish, leave the groups; bounded in time."""
        if self._watching is not None:
            self._watching.cancel()
        for consumer in self._consumers:
            consumer.stop()
        await self._stop_broker()

    def stalled(self) -> list[str]:
        """The consumers that are stuck: the loop has ended, or it has not turned for too long without a word."""
        if not self._running:
            return []
        return [consumer.name for consumer in self._consumers if self._is_stalled(consumer)]

    async def check(self) -> None:
        """For the health page. Raises: Unhealthy."""
        if self._consumers and not self._running:
            raise Unhealthy("not started yet")
        if stalled := self.stalled():
            raise Unhealthy(", ".join(stalled))

    async def _watch(self) -> None:
        """Replace what has died: a socket's error can end aiokafka's coordination, and FastStream goes on asking it."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            for name, subscriber in self._subscribers.items():
                if _has_died(subscriber):
                    logger.error("consumer_replaced", consumer=name)
                    await self._start_again(subscriber)

    async def _start_again(self, subscriber: BatchSubscriber) -> None:
        try:
            async with asyncio.timeout(STOP_TIMEOUT_SECONDS + 5):
                await subscriber.stop()
        except Exception as fault:  # noqa: BLE001 - it is given up; its successor is what counts
            logger.warning("consumer_not_stopped", fault=repr(fault))
        try:
            await subscriber.start()
        except Exception as fault:  # noqa: BLE001 - it is tried again at the next look
            logger.warning("consumer_not_started", fault=repr(fault))

    def _is_stalled(self, consumer: Consumer) -> bool:
        subscriber = self._subscribers[consumer.name]
        if _has_died(subscriber) or subscriber.consumer is None:
            return True
        idle_seconds = min(_idle_seconds(subscriber.consumer), consumer.idle_seconds)
        metrics.LAST_TURN.labels(consumer.name).set(time.time() - idle_seconds)
        return idle_seconds > LONGEST_TURN_SECONDS and not consumer.backing_off

    def _subscribe(self, consumer: Consumer) -> BatchSubscriber:
        subscriber = self._broker.subscriber(
            self._topic_prefix + consumer.subscription.topic,
            group_id=self._topic_prefix + consumer.name,
            batch=True,
            ack_policy=AckPolicy.MANUAL,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            max_records=consumer.batch_events,
            batch_timeout_ms=BATCH_TIMEOUT_MS,
            no_reply=True,
        )

        async def parse(records: "tuple[ConsumerRecord[bytes, bytes], ...]") -> KafkaAckableMessage:
            # FastStream's own parser raises on a header that is not UTF-8, and the message would be lost.
            if subscriber.consumer is None:
                raise RuntimeError("records came from a consumer that is stopped")
            return KafkaAckableMessage(
                body=b"",
                headers={},
                raw_message=records,
                message_id=f"{records[0].topic}-{records[0].partition}-{records[0].offset}",
                consumer=subscriber.consumer,
            )

        async def decode(_message: KafkaAckableMessage) -> bytes:
            return b""

        @subscriber(parser=parse, decoder=decode)
        async def handle(message: KafkaMessage) -> None:
            await consumer.handle(message)
            subscriber.max_records = consumer.batch_events

        return subscriber

    async def _stop_broker(self) -> None:
        self._running = False
        try:
            async with asyncio.timeout(STOP_TIMEOUT_SECONDS + 5):
                await self._broker.stop()
        except (KafkaError, OSError, TimeoutError) as fault:
            logger.warning("consumers_not_stopped", fault=repr(fault))


def _has_died(subscriber: BatchSubscriber) -> bool:
    """Whether it will never get another record, however long it is left alone."""
    consumer = subscriber.consumer
    if consumer is None or not subscriber.tasks or all(task.done() for task in subscriber.tasks):
        return True
    coordinating: asyncio.Task[None] = consumer._coordinator._coordination_task  # noqa: SLF001 - nothing public tells it
    return coordinating.done()


def _idle_seconds(consumer: AIOKafkaConsumer) -> float:
    """How long the loop has not been waiting for records; aiokafka uses the same clock for max_poll_interval_ms."""
    idle: float = consumer._subscription.fetcher_idle_time  # noqa: SLF001 - nothing public tells it
    return idle

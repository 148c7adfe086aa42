"""A service's consumer groups on one FastStream broker: joined once Kafka answers, watched, left in order."""

import asyncio
import logging
import time
from collections.abc import Sequence

import structlog
from aiokafka.errors import KafkaError
from faststream.kafka import KafkaBroker

from shared.error_descriptions import describe_error
from shared.health import Unhealthy
from shared.messaging import metrics
from shared.messaging.consumer.member import STOP_TIMEOUT_SECONDS, Member
from shared.messaging.consumer.worker import ConsumerWorker
from shared.messaging.kafka import KafkaConnection

logger = structlog.get_logger(__name__)

START_RETRY_DELAY_SECONDS = 2.0
WATCH_INTERVAL_SECONDS = 1.0
METADATA_MAX_AGE_SECONDS = 10.0
"""Interval at which consumers look for new partitions, whose events wait until then. aiokafka's own default is five
minutes."""
MAX_HEARTBEAT_AGE_SECONDS = 30.0
"""A member that neither polled nor ended a transaction for this long, and is not backing off, is stuck."""


class ConsumerGroups:
    """Retries until Kafka answers, then joins the groups and stays in them until it is stopped."""

    def __init__(
        self,
        workers: Sequence[ConsumerWorker],
        *,
        kafka: KafkaConnection,
        client_id: str,
        max_heartbeat_age_seconds: float = MAX_HEARTBEAT_AGE_SECONDS,
        metadata_max_age_seconds: float = METADATA_MAX_AGE_SECONDS,
    ) -> None:
        self._running = False
        self._watching: asyncio.Task[None] | None = None
        self._broker = KafkaBroker(
            kafka.servers,
            security=kafka.broker_security(),
            client_id=client_id,
            consumer_only=True,
            allow_auto_create_topics=False,
            metadata_max_age_ms=int(metadata_max_age_seconds * 1000),
            graceful_timeout=STOP_TIMEOUT_SECONDS,
            logger=logging.getLogger("shared.messaging.faststream"),
            log_level=logging.DEBUG,
        )
        self._members = [Member(worker, broker=self._broker, topic_prefix=kafka.topic_prefix) for worker in workers]
        self._max_heartbeat_age_seconds = max_heartbeat_age_seconds

    async def run(self) -> None:
        """Join the groups, retrying until it works. The members' tasks consume then; `_watch` restarts dead ones."""
        while self._members and not self._running:
            try:
                await self._broker.start()
                for member in self._members:
                    member.start()
                self._running = True
                self._watching = asyncio.create_task(self._watch())
            except (KafkaError, OSError) as error:
                logger.warning("consumer_groups_not_started", error=describe_error(error))
                await self._stop_broker()
                await asyncio.sleep(START_RETRY_DELAY_SECONDS)

    async def stop(self) -> None:
        """Let the current fetches finish, and leave the groups, within a time-out."""
        if self._watching is not None:
            self._watching.cancel()
            # It may be restarting a member.
            await asyncio.wait({self._watching})
        await asyncio.gather(*(member.stop() for member in self._members))
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

        A socket error can end aiokafka's coordination, and the member would keep polling it.
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
            logger.warning("consumer_groups_not_stopped", error=describe_error(error))

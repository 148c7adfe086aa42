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
from shared.heartbeat import Heartbeat
from shared.messaging import metrics
from shared.messaging.consumer.member import STOP_TIMEOUT_SECONDS, Member
from shared.messaging.consumer.worker import ConsumerWorker
from shared.messaging.kafka import KafkaConnection

logger = structlog.get_logger(__name__)

START_TIMEOUT_SECONDS = 45.0
"""Time for all consumers to start, before the next try. aiokafka waits 40 s for each broker that does not answer, and a
loop without a heartbeat for 60 s would count as stuck."""
START_RETRY_DELAY_SECONDS = 2.0
WATCH_INTERVAL_SECONDS = 1.0
METADATA_MAX_AGE_SECONDS = 10.0
"""Interval at which consumers look for new partitions, whose events wait until then. aiokafka's own default is five
minutes."""
MAX_JOINING_SECONDS = 60.0
"""A member that is outside of its group for longer than this makes the service degraded. A rebalance takes seconds."""


class ConsumerGroups:
    """Retries until Kafka answers, then joins the groups and stays in them until it is stopped."""

    def __init__(
        self,
        workers: Sequence[ConsumerWorker],
        *,
        kafka: KafkaConnection,
        client_id: str,
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
        self.heartbeat = Heartbeat("consumers")
        """The heartbeat of what starts, watches and replaces the members. Each member has one of its own."""
        self._joined_at = dict.fromkeys(self._members, time.monotonic())

    async def run(self) -> None:
        """Join the groups, retrying until it works. The members' tasks consume then; `_watch` restarts dead ones."""
        while self._members and not self._running:
            self.heartbeat.beat()
            try:
                async with asyncio.timeout(START_TIMEOUT_SECONDS):
                    await self._broker.start()
                for member in self._members:
                    member.start()
                self._joined_at = dict.fromkeys(self._members, time.monotonic())
                self._running = True
                self.heartbeat.succeeded()
                self._watching = asyncio.create_task(self._watch())
            except (KafkaError, OSError) as error:
                logger.warning("consumer_groups_not_started", error=describe_error(error))
                self.heartbeat.failed()
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
        """Return the loops that are stuck, for which a restart of the process helps. Safe in any thread."""
        if not self._members:
            return []
        stuck = [self.heartbeat.loop] if self.heartbeat.is_stuck else []
        if self._running:
            stuck += [member.worker.name for member in self._members if member.is_stuck]
        return stuck

    async def check(self) -> None:
        """Check the consumers for the health page. Raises: Unhealthy."""
        if self._members and not self._running:
            raise Unhealthy("not started yet")
        found = {member.worker.name: self._problem_of(member) for member in self._members}
        problems = [f"{name}: {problem}" for name, problem in found.items() if problem]
        if self._members and (problem := self.heartbeat.problem()):
            problems.append(problem)
        if problems:
            raise Unhealthy(", ".join(problems))

    def problem_of(self, consumer: str) -> str | None:
        """Return what is wrong with a consumer of this process; None if it is healthy, or runs elsewhere."""
        for member in self._members:
            if member.worker.name == consumer:
                return self._problem_of(member) if self._running else "not started yet"
        return None

    def _problem_of(self, member: Member) -> str | None:
        if member.has_died:
            return "is being replaced"
        if time.monotonic() - self._joined_at[member] > MAX_JOINING_SECONDS:
            return "not in its group"
        if member.worker.heartbeat.is_stuck and member.worker.is_backing_off:
            return "waits for the database"
        return member.worker.heartbeat.problem()

    async def _watch(self) -> None:
        """Replace members that have died: an error can end a task of aiokafka, and the member would poll in vain."""
        while True:
            await asyncio.sleep(WATCH_INTERVAL_SECONDS)
            for member in self._members:
                self.heartbeat.beat()
                if member.has_died:
                    logger.error("consumer_died", consumer=member.worker.name)
                    metrics.REPLACED.labels(member.worker.name).inc()
                    await member.restart()
                self._measure(member)
            self.heartbeat.succeeded()

    def _measure(self, member: Member) -> None:
        if member.has_joined:
            self._joined_at[member] = time.monotonic()
        metrics.LAG.labels(member.worker.name).set(member.lag_events)
        metrics.ASSIGNED_PARTITIONS.labels(member.worker.name).set(member.assigned_partitions)

    async def _stop_broker(self) -> None:
        self._running = False
        try:
            async with asyncio.timeout(STOP_TIMEOUT_SECONDS + 5):
                await self._broker.stop()
        except (KafkaError, OSError) as error:
            logger.warning("consumer_groups_not_stopped", error=describe_error(error))

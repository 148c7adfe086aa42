"""aiokafka: signs of life of a consumer that its public interface does not show."""

import asyncio

from aiokafka import AIOKafkaConsumer


def coordination_has_ended(consumer: AIOKafkaConsumer) -> bool:
    """Return whether the task that keeps the consumer in its group has ended, as a socket error can end it."""
    task: asyncio.Task[None] = consumer._coordinator._coordination_task  # noqa: SLF001
    return task.done()


def idle_seconds(consumer: AIOKafkaConsumer) -> float:
    """Return the time since the consumer last polled, by the clock that checks max_poll_interval_ms."""
    idle: float = consumer._subscription.fetcher_idle_time  # noqa: SLF001
    return idle

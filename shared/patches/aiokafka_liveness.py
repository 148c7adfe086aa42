"""aiokafka: a consumer's liveness, which its public interface does not show.

aiokafka 0.14 keeps a consumer in its group by the task `_coordinator._coordination_task`. Under uvloop, a RuntimeError
of a closed socket can end that task for good (aio-libs/aiokafka#1038). aio-libs/aiokafka#1154 asked for a public state
of the coordinator. `_subscription.fetcher_idle_time` has no public counterpart and no upstream issue of its own; the
nearest is aio-libs/aiokafka#1040.
"""

import asyncio

from aiokafka import AIOKafkaConsumer


def coordination_has_ended(consumer: AIOKafkaConsumer) -> bool:
    """Return whether the task that keeps the consumer in its group has ended."""
    task: asyncio.Task[None] = consumer._coordinator._coordination_task  # noqa: SLF001
    return task.done()


def idle_seconds(consumer: AIOKafkaConsumer) -> float:
    """Return the time since the consumer last polled, by the clock that checks max_poll_interval_ms."""
    idle: float = consumer._subscription.fetcher_idle_time  # noqa: SLF001
    return idle

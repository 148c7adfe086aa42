"""aiokafka: the state of a consumer that its public interface does not show.

aiokafka 0.14 runs a consumer in three tasks. `_coordinator._coordination_task` keeps it in its group; under uvloop, a
RuntimeError of a closed socket can end it for good (aio-libs/aiokafka#1038). `_fetcher._fetch_task` fetches records,
and ends at any unexpected error of a fetch. `_client._sync_task` refreshes the metadata, without which neither finds
a broker. aio-libs/aiokafka#1154 asked for a public state of the coordinator.
"""

import asyncio
from contextlib import suppress
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition


class Position(NamedTuple):
    """Position of a consumer in a partition, and the partition's end: the offsets of the next records."""

    next: int
    end: int


def has_ended(consumer: AIOKafkaConsumer) -> bool:
    """Return whether one of the tasks has ended without which the consumer receives no more records."""
    tasks: tuple[asyncio.Task[None] | None, ...] = (
        consumer._coordinator._coordination_task,  # noqa: SLF001
        consumer._fetcher._fetch_task,  # noqa: SLF001
        consumer._client._sync_task,  # noqa: SLF001
    )
    return any(task is None or task.done() for task in tasks)


async def close_connections(consumer: AIOKafkaConsumer) -> None:
    """Close the connections of a consumer whose `stop` has failed: it raises the error that ended the fetch task."""
    with suppress(Exception):
        await consumer._client.close()  # noqa: SLF001


def has_joined(consumer: AIOKafkaConsumer) -> bool:
    """Return whether the group has answered with an assignment, which may be empty if others have all partitions."""
    return not consumer._subscription.reassignment_in_progress  # noqa: SLF001


def positions(consumer: AIOKafkaConsumer) -> dict[TopicPartition, Position]:
    """Return the position in each assigned partition, and its end at the last fetch. Asks Kafka nothing."""
    subscription = consumer._subscription.subscription  # noqa: SLF001
    if subscription is None or subscription.assignment is None:
        return {}
    assignment = subscription.assignment
    states = {partition: assignment.state_value(partition) for partition in assignment.tps}
    return {
        partition: Position(state.position, state.highwater)
        for partition, state in states.items()
        if state.has_valid_position and state.highwater is not None
    }

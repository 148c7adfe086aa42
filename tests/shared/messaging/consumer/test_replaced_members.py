"""A member whose Kafka consumer has lost one of its tasks gets a new consumer, and goes on."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from aiokafka import AIOKafkaConsumer

from shared.database import Database
from shared.ids import new_id
from shared.messaging.consumer.group import ConsumerGroups
from tests.harness.rows import Rows
from tests.harness.running import running_consumers
from tests.harness.waiting import until
from tests.shared.effects import has_effects
from tests.shared.messaging.consumer.topic import Topic


async def test_a_consumer_whose_coordination_has_ended_is_replaced(
    database: Database, topic: Topic, consumers_of: Callable[..., ConsumerGroups]
) -> None:
    """Seed 1010 of the workload `orders`: an error of a socket ended aiokafka's coordination permanently."""

    async def end_coordination(consumer: AIOKafkaConsumer) -> None:
        consumer._coordinator.ensure_coordinator_known = _closed
        consumer._coordinator.coordinator_dead()
        await asyncio.wait({consumer._coordinator._coordination_task})

    await _check_replacement(database, topic, consumers_of(database), end_coordination)


async def test_a_consumer_whose_fetcher_was_cancelled_is_replaced(
    database: Database, topic: Topic, consumers_of: Callable[..., ConsumerGroups]
) -> None:
    async def cancel_the_fetcher(consumer: AIOKafkaConsumer) -> None:
        consumer._fetcher._fetch_task.cancel()
        await asyncio.wait({consumer._fetcher._fetch_task})

    await _check_replacement(database, topic, consumers_of(database), cancel_the_fetcher)


async def test_a_consumer_whose_fetcher_has_failed_is_replaced(
    database: Database, topic: Topic, consumers_of: Callable[..., ConsumerGroups]
) -> None:
    async def fail_the_next_fetch(consumer: AIOKafkaConsumer) -> None:
        consumer._client.send = _closed
        await asyncio.wait({consumer._fetcher._fetch_task})

    await _check_replacement(database, topic, consumers_of(database), fail_the_next_fetch)


async def test_a_consumer_without_new_metadata_is_replaced(
    database: Database, topic: Topic, consumers_of: Callable[..., ConsumerGroups]
) -> None:
    async def cancel_the_synchronizer(consumer: AIOKafkaConsumer) -> None:
        consumer._client._sync_task.cancel()
        await asyncio.wait({consumer._client._sync_task})

    await _check_replacement(database, topic, consumers_of(database), cancel_the_synchronizer)


async def test_a_consumer_that_does_not_close_is_replaced(
    database: Database, topic: Topic, consumers_of: Callable[..., ConsumerGroups]
) -> None:
    """A kill of the broker showed it: aiokafka swallowed the cancellation of its `close`, and waited for ever."""

    async def close(fetch_task: asyncio.Task[None]) -> None:
        fetch_task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    async def break_close(consumer: AIOKafkaConsumer) -> None:
        fetch_task = consumer._fetcher._fetch_task
        consumer._fetcher.close = lambda: close(fetch_task)
        consumer._client._sync_task.cancel()
        await asyncio.wait({consumer._client._sync_task})

    await _check_replacement(database, topic, consumers_of(database), break_close)


async def _check_replacement(
    database: Database, topic: Topic, consumers: ConsumerGroups, end: Callable[[AIOKafkaConsumer], Awaitable[None]]
) -> None:
    """Check that a consumer applies events again after `end` has ended one of its tasks."""
    user_id = new_id()
    async with running_consumers(consumers):
        await topic.send(user_id, 1)
        await until(has_effects(database, 1), what="the first is applied")
        first = consumers._members[0]._subscriber.consumer
        assert first is not None

        async def is_replaced() -> bool:
            return consumers._members[0]._subscriber.consumer not in {None, first}

        await end(first)
        await topic.send(user_id, 2)
        await until(is_replaced, what="the consumer is replaced")
        await until(has_effects(database, 2), what="the second is applied")
    assert not any(connection.connected() for connection in first._client._conns.values())
    assert await Rows(database.sessions).effects() == [(str(user_id), 1), (str(user_id), 2)]


async def _closed(*_arguments: object, **_options: object) -> None:
    raise RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")

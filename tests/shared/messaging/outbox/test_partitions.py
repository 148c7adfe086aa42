"""A key keeps its partition when its topic gets more of them in Kafka."""

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from structlog.testing import capture_logs

from shared.database import Database
from shared.ids import new_id
from shared.messaging.consumer.group import ConsumerGroups
from shared.messaging.kafka import KafkaConnection
from shared.messaging.outbox.outbox import record
from shared.messaging.outbox.relay import Relay
from shared.messaging.topics import add_partitions, admin_client
from tests.harness.kafka_topics import read_topic
from tests.harness.rows import Rows
from tests.harness.running import running, running_consumers
from tests.harness.waiting import until
from tests.shared.effects import credit_reserved, has_effects, sequences_by_key
from tests.shared.outbox import until_outbox_is_empty

USERS = [new_id() for _ in range(20)]
"""More than the partitions, so that most keys would have another partition among twelve than among six."""


async def publish(database: Database, relay: Relay) -> None:
    """Record two events of each user, and publish them."""
    for _ in range(2):
        async with database.sessions.begin() as session:
            for user_id in USERS:
                record(session, credit_reserved(user_id))
    async with running(relay):
        await until_outbox_is_empty(database.sessions)


async def test_keys_keep_their_order_when_partitions_are_added_while_events_wait_for_a_consumer(
    database: Database,
    relay_of: Callable[..., Relay],
    consumers_of: Callable[..., ConsumerGroups],
    kafka_bootstrap_servers: str,
    kafka_topics: str,
) -> None:
    topic = f"{kafka_topics}users"
    await publish(database, relay_of())
    async with admin_client(KafkaConnection(kafka_bootstrap_servers)) as admin:
        await add_partitions(admin, topic, total=12)
    with capture_logs() as logs:
        await publish(database, relay_of())
    partitions = {(one.key, one.partition) for one in await read_topic(kafka_bootstrap_servers, topic)}
    assert len(partitions) == len(USERS)
    async with running_consumers(consumers_of(database)):
        await until(has_effects(database, 4 * len(USERS)), what="all events are applied")
    rows = Rows(database.sessions)
    assert sequences_by_key(await rows.effects()) == {str(user_id): [1, 2, 3, 4] for user_id in USERS}
    assert await rows.dead_letters() == []
    warnings = [line for line in logs if line["event"] == "partitions_unused"]
    assert [(line["topic"], line["existing"], line["used"]) for line in warnings] == [("users", 12, 6)]


async def test_events_of_a_topic_with_too_few_partitions_wait_until_it_has_enough(
    database: Database, relay_of: Callable[..., Relay], kafka_bootstrap_servers: str, kafka_topics: str
) -> None:
    async with database.sessions.begin() as session:
        await session.execute(sa.text("INSERT INTO topic_partitions VALUES ('users', 8)"))
        record(session, credit_reserved())
    logs: list[Any]

    async def has_failed() -> bool:
        return any(line["event"] == "publish_failed" for line in logs)

    async def is_published() -> bool:
        return await Rows(database.sessions).count("outbox_sent") == 1

    with capture_logs() as logs:
        async with running(relay_of()):
            await until(has_failed, what="the event could not be published")
            assert not await is_published()
            async with admin_client(KafkaConnection(kafka_bootstrap_servers)) as admin:
                await add_partitions(admin, f"{kafka_topics}users", total=8)
            await until(is_published, what="the event is published")
    (error, *_) = [line["error"] for line in logs if line["event"] == "publish_failed"]
    assert error.endswith("users has 6 partitions and needs 8: see docs/runbooks/partitions.md")

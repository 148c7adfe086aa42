"""Faults of Kafka partitions: somebody adds partitions with Kafka's tools, or an operator lets keys move to them."""

from contextlib import suppress

from aiokafka.errors import KafkaError

from shared.database import open_database
from shared.messaging.kafka import KafkaConnection
from shared.messaging.outbox.pages import LeaseLost
from shared.messaging.topics import add_partitions, admin_client, count_partitions
from shared.operations.topics import ConsumersLag, PartitionsNotRaised, Repartition, TopicOperations
from tests.chaos.accounts import TOPIC
from tests.chaos.environment import Environment

MAX_PARTITIONS = 24
CATCH_UP_SECONDS = 15.0


async def partitions_added(environment: Environment) -> None:
    """Double the topic's partitions with Kafka's tools, up to MAX_PARTITIONS. No key moves.

    Doubling keeps the oracle simple: a key moves only to a partition with a higher number.
    """
    with suppress(KafkaError, TimeoutError):
        async with admin_client(KafkaConnection(environment.kafka)) as admin:
            existing = (await count_partitions(admin, [environment.topic]))[environment.topic]
            if existing < MAX_PARTITIONS:
                await add_partitions(admin, environment.topic, total=existing * 2)


async def keys_moved(environment: Environment) -> None:
    """Do as the command does: let keys move to all partitions, or give up if the consumers do not catch up.

    Run it beside other faults. Errors of the database are raised, as by every fault.
    """
    database = open_database(environment.producer_url, service="accounts", pool_size=2)
    topics = TopicOperations("users", database.sessions, KafkaConnection(environment.kafka, environment.topic_prefix))
    try:
        with suppress(KafkaError, ConsumersLag, LeaseLost, PartitionsNotRaised):
            (found,) = [each for each in await topics.topics() if each.topic == TOPIC]
            total = found.existing or 0
            if found.existing == found.pinned and total < MAX_PARTITIONS:
                total *= 2
            wanted = Repartition(TOPIC, total, "chaos", timeout_seconds=CATCH_UP_SECONDS)
            await topics.repartition(wanted)
    finally:
        await database.close()

"""A consumer as a service runs one, of the real parts, for as long as a benchmark looks at it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shared.database import open_database
from shared.messaging.consumer.group import ConsumerGroups
from shared.messaging.consumer.subscription import Subscription
from shared.messaging.consumer.worker import ConsumerWorker

POOL_SIZE = 4


@asynccontextmanager
async def reading(
    subscription: Subscription, *, database_url: str, kafka: str, topic_prefix: str, name: str
) -> AsyncIterator[None]:
    """`name` is the group's and the inbox's: a new one begins with the first record of the topic."""
    database = open_database(database_url, service="reader", pool_size=POOL_SIZE)
    consumers = ConsumerGroups(
        [ConsumerWorker(name=name, subscription=subscription, sessions=database.sessions)],
        bootstrap_servers=kafka,
        client_id="bench",
        topic_prefix=topic_prefix,
    )
    await consumers.run()
    try:
        yield
    finally:
        await consumers.stop()
        await database.close()

"""The table that every consumer under measurement keeps: the users, and how many events were applied to each."""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import asyncpg
import sqlalchemy as sa

from shared.connection_urls import dsn_of
from shared.database import open_database
from shared.events.users import UserUpdated
from shared.messaging.consumer.group import ConsumerGroups
from shared.messaging.consumer.subscription import Subscription
from shared.messaging.consumer.worker import ConsumerWorker
from shared.messaging.kafka import KafkaConnection
from tests.harness.running import running_consumers

POOL_SIZE = 4
UPSERT_ONE = sa.text("""
    INSERT INTO replica (user_id, personal, locale, events) VALUES (:user_id, :personal, :locale, 1)
    ON CONFLICT (user_id) DO UPDATE SET
        personal = excluded.personal, locale = excluded.locale, events = replica.events + 1
""")
UPSERT_MANY = """
    INSERT INTO replica (user_id, personal, locale, events)
    SELECT * FROM unnest(CAST({} AS uuid[]), CAST({} AS text[]), CAST({} AS text[]), CAST({} AS bigint[]))
    ON CONFLICT (user_id) DO UPDATE SET
        personal = excluded.personal, locale = excluded.locale, events = replica.events + excluded.events
"""
"""A format string: SQLAlchemy and asyncpg mark parameters differently."""
BULK_UPSERT = sa.text(UPSERT_MANY.format(":user_ids", ":personal", ":locales", ":events"))
"""The bulk upsert of a handler, with the parameters of `columns_of`."""


async def create_replica(database_url: str) -> None:
    """Create the empty table."""
    connection = await asyncpg.connect(dsn_of(database_url))
    await connection.execute("""
        CREATE TABLE replica (
            user_id uuid PRIMARY KEY, personal text NOT NULL, locale text NOT NULL, events bigint NOT NULL
        )
    """)
    await connection.close()


def columns_of(users: Sequence[UserUpdated]) -> dict[str, list[object]]:
    """Return the parameters of one bulk upsert: each user's last event, and the number of its events."""
    last = {user.user_id: user for user in users}
    events = Counter(user.user_id for user in users)
    return {
        "user_ids": list(last),
        "personal": [user.personal for user in last.values()],
        "locales": [user.locale for user in last.values()],
        "events": [events[user_id] for user_id in last],
    }


@asynccontextmanager
async def consuming(
    subscription: Subscription, database_url: str, *, kafka: str, topic_prefix: str, group: str
) -> AsyncIterator[None]:
    """Run a consumer as a service does; a new group starts with the topic's first record."""
    database = open_database(database_url, service="consumer", pool_size=POOL_SIZE)
    consumers = ConsumerGroups(
        [ConsumerWorker(name=group, subscription=subscription, sessions=database.sessions)],
        kafka=KafkaConnection(kafka, topic_prefix),
        client_id="bench",
    )
    async with running_consumers(consumers):
        yield
    await database.close()

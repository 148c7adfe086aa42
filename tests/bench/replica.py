"""The table that all consumers keep: what is known of users, and how many events went into it."""

from collections import Counter
from collections.abc import Sequence
from uuid import UUID

import asyncpg

from shared.database import dsn_of
from shared.events.users import UserUpdated

CREATE_REPLICA = """
    CREATE TABLE replica (user_id uuid PRIMARY KEY, email text NOT NULL, name text NOT NULL, events bigint NOT NULL)
"""
UPSERT = """
    INSERT INTO replica (user_id, email, name, events)
    SELECT * FROM unnest({user_ids}::uuid[], {emails}::text[], {names}::text[], {events}::bigint[])
    ON CONFLICT (user_id) DO UPDATE SET
        email = excluded.email, name = excluded.name, events = replica.events + excluded.events
"""


async def create_replica(database_url: str) -> None:
    """Empty."""
    connection = await asyncpg.connect(dsn_of(database_url))
    await connection.execute(CREATE_REPLICA)
    await connection.close()


def columns_of(users: Sequence[UserUpdated]) -> dict[str, list[object]]:
    """For one bulk upsert: of a user that is there more than once the last word, and how often it is there."""
    last: dict[UUID, UserUpdated] = {user.user_id: user for user in users}
    times = Counter(user.user_id for user in users)
    return {
        "user_ids": list(last),
        "emails": [user.email for user in last.values()],
        "names": [user.name for user in last.values()],
        "events": [times[user_id] for user_id in last],
    }

"""The outbox without a relay."""

import sqlalchemy as sa

from shared.database import Sessions

_SEND_WITHOUT_KAFKA = sa.text("""
    WITH sent AS (DELETE FROM outbox RETURNING *)
    INSERT INTO outbox_sent (
        day, id, event_id, topic, key, sequence, type, source, dataschema, occurred_at, traceparent, tracestate,
        payload, shard, partition, "offset", sent_at
    )
    SELECT (clock_timestamp() AT TIME ZONE 'UTC')::date, id, event_id, topic, key, sequence, type, source, dataschema,
           occurred_at, traceparent, tracestate, payload, shard, 0, 0, clock_timestamp()
    FROM sent
""")


async def send_without_kafka(sessions: Sessions) -> None:
    """Move all events from the outbox to `outbox_sent`, as the relay does."""
    async with sessions.begin() as session:
        await session.execute(_SEND_WITHOUT_KAFKA)

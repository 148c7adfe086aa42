"""Carries events from the outboxes to the consumers without Kafka: the services' own handlers apply them."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import sqlalchemy as sa

from services.notifications.subscribers import SUBSCRIPTIONS as NOTIFICATIONS
from services.orders.subscribers import SUBSCRIPTIONS as ORDERS
from services.users.subscribers import SUBSCRIPTIONS as USERS
from shared.database import Sessions, open_database
from shared.events.topics import consumer_of
from shared.messaging.consumer.batch import HandlerFailed, apply_batch
from shared.messaging.consumer.subscription import Subscription
from shared.messaging.envelope import Received, encode_headers, received_of

CONSUMERS: Mapping[str, tuple[Subscription, ...]] = {"users": USERS, "orders": ORDERS, "notifications": NOTIFICATIONS}
_WAITING = sa.text("SELECT * FROM outbox ORDER BY id")
_SEND = sa.text("""
    WITH sent AS (DELETE FROM outbox WHERE id = :id RETURNING *)
    INSERT INTO outbox_sent (
        day, id, event_id, topic, key, sequence, type, source, dataschema, occurred_at, traceparent, tracestate,
        payload, shard, partition, "offset", sent_at
    )
    SELECT (clock_timestamp() AT TIME ZONE 'UTC')::date, id, event_id, topic, key, sequence, type, source, dataschema,
           occurred_at, traceparent, tracestate, payload, shard, 0, :offset, clock_timestamp()
    FROM sent
""")
_SEND_MAILS = sa.text("""
    UPDATE delivery SET status = 'sent', sent_at = now(), next_attempt_at = NULL WHERE status IN ('queued', 'deferred')
""")


@dataclass
class Transport:
    """The outboxes and consumers of the three services."""

    sessions: Mapping[str, Sessions]
    offset: int = 1_000

    async def deliver(self) -> None:
        """Deliver until every outbox is empty, and count the mails of new notifications as sent."""
        while [service for service in self.sessions if await self._deliver_from(service)]:
            pass
        async with self.sessions["notifications"].begin() as session:
            await session.execute(_SEND_MAILS)

    async def _deliver_from(self, service: str) -> int:
        async with self.sessions[service].begin() as session:
            rows = (await session.execute(_WAITING)).mappings().all()
        for row in rows:
            self.offset += 1
            for consumer in CONSUMERS:
                await self._consume(consumer, _received(dict(row), offset=self.offset))
            async with self.sessions[service].begin() as session:
                await session.execute(_SEND, {"id": row["id"], "offset": self.offset})
        return len(rows)

    async def _consume(self, service: str, event: Received) -> None:
        for subscription in CONSUMERS[service]:
            if subscription.topic == event.topic:
                try:
                    await self._apply(service, subscription, event, savepoint=False)
                except HandlerFailed:
                    await self._apply(service, subscription, event, savepoint=True)

    async def _apply(self, service: str, subscription: Subscription, event: Received, *, savepoint: bool) -> None:
        async with self.sessions[service].begin() as session:
            await apply_batch(
                session,
                consumer=consumer_of(service, event.topic),
                subscription=subscription,
                events=[event],
                savepoints=[event.place] if savepoint else (),
            )


def _received(row: dict[str, object], *, offset: int) -> Received:
    names = ("event_id", "source", "dataschema", "occurred_at", "key", "sequence", "traceparent", "tracestate")
    headers = encode_headers(event_type=row["type"], **{name: row[name] for name in names})  # type: ignore[arg-type]  # the columns of the table
    topic, key, payload = str(row["topic"]), str(row["key"]), row["payload"]
    assert isinstance(payload, bytes)
    return received_of(topic=topic, partition=0, offset=offset, key=key, value=payload, headers=dict(headers))


@asynccontextmanager
async def transport_of(urls: Mapping[str, str]) -> AsyncIterator[Transport]:
    """Open the databases as the services do."""
    async with AsyncExitStack() as stack:
        sessions: dict[str, Sessions] = {}
        for service, url in urls.items():
            database = open_database(url, service=service, pool_size=2)
            stack.push_async_callback(database.close)
            sessions[service] = database.sessions
        yield Transport(sessions)

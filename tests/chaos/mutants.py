"""Four well-known ways to get it wrong, put into a worker in place of the real thing: the oracle has to see each.

Loaded in worker processes only, and only when their plan names a mutant.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any
from uuid import UUID

import asyncpg
from faststream.kafka.annotations import KafkaMessage
from sqlalchemy.ext.asyncio import AsyncSession

from shared.messaging.consumer import inbox
from shared.messaging.consumer.group import Member
from shared.messaging.consumer.inbox import Position
from shared.messaging.envelope import EventContext
from shared.messaging.failpoints import failpoint
from shared.messaging.outbox.publisher import Acknowledged
from shared.messaging.outbox.relay import _PAGE, Relay

SKIP_LOCKED_ROWS = 5


def delete_before_ack() -> None:
    """The relay moves the rows first, and publishes them then."""

    async def send(self: Relay, connection: Any, rows: Sequence[asyncpg.Record]) -> None:
        await self._move(connection, [Acknowledged(row["id"], 0, 0) for row in rows])
        await self._publisher.publish(rows)

    Relay._send = send  # type: ignore[method-assign]  # that is what a mutant is


def offsets_before_commit() -> None:
    """The consumer commits the offsets first, and applies the batch then."""

    # FastStream reads the annotation: with another one it would pass the record's value.
    async def handle(self: Member, message: KafkaMessage) -> None:
        await self._commit(message)
        await self.worker.apply(message.raw_message)

    Member.handle = handle  # type: ignore[method-assign]


def no_inbox() -> None:
    """The consumer remembers neither events nor positions."""

    async def claim(session: AsyncSession, *, consumer: str, contexts: Iterable[EventContext]) -> set[UUID]:
        del session, consumer, contexts
        return set()

    async def lock_positions(
        session: AsyncSession, *, consumer: str, topic: str, keys: Iterable[str]
    ) -> dict[str, Position]:
        del session, consumer, topic, keys
        return {}

    inbox.claim = claim
    inbox.lock_positions = lock_positions


def skip_locked() -> None:
    """Two relays work at once: no lease, but rows that are locked while they are sent, and skipped by the other."""
    page = _PAGE.replace("LIMIT $3", f"LIMIT least($3, {SKIP_LOCKED_ROWS}) FOR UPDATE SKIP LOCKED")

    async def work(self: Relay, connection: Any) -> None:
        while not self._stop.is_set():
            async with connection.transaction():
                rows = await connection.fetch(page, self._shard, [], SKIP_LOCKED_ROWS)
                failpoint("relay.fetched")
                sent, _ = await self._publisher.publish(rows)
                failpoint("relay.acked")
                await connection.execute(
                    "DELETE FROM outbox WHERE id = ANY($1::bigint[])", [one.row_id for one in sent]
                )
            if not rows:
                await self._wait(0.05, until=self._wake)

    Relay._work = work  # type: ignore[method-assign]


MUTANTS: dict[str, Callable[[], None]] = {
    mutant.__name__: mutant for mutant in (delete_before_ack, offsets_before_commit, no_inbox, skip_locked)
}

"""Four well-known mistakes that replace the real code in a worker process: the oracle has to find each.

A mutant is installed in worker processes only, and only when their plan names it.
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
"""The page of a relay without a lease. A small one leaves rows for the other relay."""


def delete_before_ack() -> None:
    """Let the relay move the rows before it publishes them."""

    async def send(self: Relay, connection: Any, rows: Sequence[asyncpg.Record]) -> None:
        await self._move(connection, [Acknowledged(row["id"], 0, 0) for row in rows])
        await self._publisher.publish(rows)

    Relay._send = send  # type: ignore[method-assign]  # a mutant replaces code on purpose


def offsets_before_commit() -> None:
    """Let the consumer commit the offsets before it applies the batch."""

    # FastStream reads the annotation: with another one it would pass the record's value.
    async def handle(self: Member, message: KafkaMessage) -> None:
        await self._commit(message)
        await self.worker.apply(message.raw_message)

    Member.handle = handle  # type: ignore[method-assign]


def no_inbox() -> None:
    """Let the consumer remember neither events nor positions."""

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
    """Let two relays work at once, without a lease: each locks its rows while it sends them, the other skips them."""
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

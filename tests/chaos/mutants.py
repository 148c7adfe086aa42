"""Mistakes that replace the real code in a worker process: the oracle has to find each.

A mutant is installed in worker processes only, and only when their plan names it.
"""

from collections.abc import Callable, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer

from deploy.wrong_builds.patches import PATCHES
from shared.messaging.consumer import inbox
from shared.messaging.consumer.inbox import Begun
from shared.messaging.consumer.member import Member
from shared.messaging.envelope import Record
from shared.messaging.failpoints import failpoint
from shared.messaging.outbox.pages import IS_LEADING, PAGE, OutboxPages
from shared.messaging.outbox.partitions import PinnedPartitions
from shared.messaging.outbox.publisher import Acknowledged
from shared.messaging.outbox.relay import Relay
from shared.messaging.outbox.watermark import Watermark

SKIP_LOCKED_ROWS = 5
"""The page of a relay without a lease. A small one leaves rows for the other relay."""


def delete_before_ack() -> None:
    """Let the relay move the rows before it publishes them."""

    async def publish_page(self: Relay, pages: OutboxPages) -> float:
        rows = await pages.fetch(without_topics=[])
        pages.acknowledge([Acknowledged(row["id"], 0, 0) for row in rows])
        await pages.move()
        await self._publisher.publish(rows, partitions_of=pages.partitions.of)
        return self._poll_interval_seconds

    Relay._publish_page = publish_page  # type: ignore[method-assign]  # a mutant replaces code on purpose


def offsets_before_commit() -> None:
    """Let the consumer commit the offsets before it applies the batch."""

    async def handle(self: Member, consumer: AIOKafkaConsumer, records: Sequence[Record]) -> None:
        self._offsets.add(records)
        await self._offsets.commit(consumer)
        await self.worker.apply(records)

    Member.handle = handle  # type: ignore[method-assign]


def no_inbox() -> None:
    """Let the consumer remember neither events nor positions."""

    async def begin_batch(*_: object, **__: object) -> Begun:
        return Begun({}, set())

    inbox.begin_batch = begin_batch


def skip_locked() -> None:
    """Let two relays work at once, without a lease: each locks its rows while it sends them, the other skips them."""
    without_lease = PAGE.replace(IS_LEADING, "$7::text IS NULL AND $8::bigint IS NULL")
    page = f"{without_lease} FOR UPDATE SKIP LOCKED"

    async def work(self: Relay, connection: Any) -> None:
        partitions = PinnedPartitions(connection)
        while not self._stop.is_set():
            async with connection.transaction():
                rows = await connection.fetch(page, self._shard, 0, 0, [], [], SKIP_LOCKED_ROWS, None, None)
                failpoint("relay.fetched")
                sent, _ = await self._publisher.publish(rows, partitions_of=partitions.of)
                failpoint("relay.acked")
                await connection.execute(
                    "DELETE FROM outbox WHERE id = ANY($1::bigint[])", [one.row_id for one in sent]
                )
            if not rows:
                await self._wait(0.05, until=self._wake)

    Relay._work = work  # type: ignore[method-assign]


def hasty_watermark() -> None:
    """Let the relay's query begin behind the moved rows without waiting for transactions that may commit lower ids."""

    def moved(self: Watermark, row_id: int, *, xid: int, resends: int) -> None:
        del xid, resends
        self._row_id = max(self._row_id, row_id)

    def next_after(self: Watermark) -> int:
        return self._row_id

    Watermark.moved = moved  # type: ignore[method-assign]
    Watermark.next_after = next_after  # type: ignore[method-assign]


MUTANTS: dict[str, Callable[[], None]] = {
    mutant.__name__: mutant
    for mutant in (delete_before_ack, offsets_before_commit, no_inbox, skip_locked, hasty_watermark)
} | {build.value: patch for build, patch in PATCHES.items()}
"""The mutants by name, with the wrong builds that the local system shows."""

"""More partitions for a topic: its keys are hashed anew once every consumer has applied what was published before.

The operation takes over the relays' leases, so that nothing is published, and waits until every consumer group has
committed the topic's last records. Then it adds the partitions in Kafka and pins the topic to their number. If it is
killed at any point, the leases expire and the relays continue with the pinned number: no key moves.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from uuid import uuid4

import asyncpg
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database import Sessions
from shared.errors import Problem
from shared.events.contract import EVENT_TYPES
from shared.events.topics import consumer_of, topic_named
from shared.messaging.failpoints import failpoint
from shared.messaging.kafka import KafkaConnection
from shared.messaging.lag import TopicLag, topic_lag
from shared.messaging.outbox.lease import Lease
from shared.messaging.outbox.outbox import SHARDS
from shared.messaging.outbox.pages import LeaseLost
from shared.messaging.outbox.partitions import TopicPartitions, pinned_partitions, raise_partitions
from shared.messaging.topics import add_partitions, admin_client, count_partitions
from shared.operations import runs
from shared.operations.runs import Operation
from shared.patches.sqlalchemy_driver import begun_connection

PARTITIONS = "partitions"
DEFAULT_TIMEOUT_SECONDS = 60.0
"""Time for the consumers to catch up. Meanwhile the service publishes nothing, and its events wait in the outbox."""
RENEW_INTERVAL_SECONDS = 1.0
LAG_POLL_SECONDS = 0.2

ConsumersOf = Callable[[str], Collection[str]]
"""Returns the declared consumers of a topic."""
OnLag = Callable[[dict[str, int]], None]
"""Called with the lag of each group that has not caught up yet."""


class TopicNotPublished(Problem):
    """The service does not publish this topic."""

    status = 404
    code = "topic_not_published"


class PartitionsNotRaised(Problem):
    """The number of partitions of a topic can only be raised."""

    status = 422
    code = "partitions_not_raised"


class ConsumersLag(Exception):
    """Some consumer groups have not caught up in time. `lag` has the number of records of each."""

    def __init__(self, lag: dict[str, int]) -> None:
        super().__init__(", ".join(f"{group}: {records} records" for group, records in sorted(lag.items())))
        self.lag = lag


@dataclass(frozen=True)
class Repartition:
    """A topic that shall have `partitions`, whichever groups in `skipped_groups` lag."""

    topic: str
    partitions: int
    actor: str
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    skipped_groups: Collection[str] = ()


def declared_consumers(topic: str) -> list[str]:
    """Return the consumers of a topic that all services have together."""
    return [consumer_of(service, topic) for service in topic_named(topic).consumers]


@dataclass(frozen=True)
class TopicOperations:
    """The topics that one service publishes."""

    service: str
    sessions: Sessions
    kafka: KafkaConnection
    consumers_of: ConsumersOf = declared_consumers

    async def topics(self) -> list[TopicPartitions]:
        """Return every topic with its partitions. Raises: KafkaError."""
        names = _published_by(self.service)
        async with self.sessions() as session:
            pinned = await pinned_partitions(session)
        async with admin_client(self.kafka) as admin:
            existing = await count_partitions(admin, (self.kafka.topic_prefix + name for name in names))
        return [
            TopicPartitions(name, existing=existing.get(self.kafka.topic_prefix + name), pinned=pinned.get(name))
            for name in names
        ]

    async def repartition(self, wanted: Repartition, *, on_lag: OnLag = lambda _lag: None) -> Operation | None:
        """Give a topic more partitions, and hash its keys over them; return None if nothing is left to do.

        Raises: TopicNotPublished, PartitionsNotRaised, ConsumersLag, LeaseLost, KafkaError. None of them leaves the
        topic pinned to another number.
        """
        found = {each.topic: each for each in await self.topics()}.get(wanted.topic)
        if found is None or found.existing is None:
            raise TopicNotPublished(f"The service publishes: {', '.join(_published_by(self.service))}.")
        if wanted.partitions < max(found.existing, found.pinned or 0):
            raise PartitionsNotRaised(
                f"Kafka has {found.existing} partitions of {wanted.topic}; the relays use {found.pinned or 'none yet'}."
            )
        if wanted.partitions == found.existing == found.pinned:
            return None
        holder = _LeaseHolder(self.sessions, owner=f"{os.getpid()} partitions of {wanted.topic} {uuid4()}")
        return await holder.run(lambda: self._move_keys(wanted, found, holder, on_lag=on_lag))

    async def _move_keys(
        self, wanted: Repartition, found: TopicPartitions, holder: "_LeaseHolder", *, on_lag: OnLag
    ) -> Operation:
        failpoint("topics.leases_taken")
        topic = self.kafka.topic_prefix + wanted.topic
        async with (
            admin_client(self.kafka) as admin,
            topic_lag(admin, self.kafka, topic=topic) as lag,
        ):
            # Kafka does not know a group that has never committed and has no member, nor one that was away for a week.
            declared = {self.kafka.topic_prefix + consumer for consumer in self.consumers_of(wanted.topic)}
            groups = ({*await lag.groups()} | declared).difference(wanted.skipped_groups)
            await _wait_for_consumers(lag, sorted(groups), wanted.timeout_seconds, on_lag=on_lag)
            failpoint("topics.consumers_caught_up")
            if wanted.partitions > (found.existing or 0):
                await add_partitions(admin, topic, total=wanted.partitions)
        failpoint("topics.partitions_added")
        async with self.sessions.begin() as session:
            # Locks the leases: no relay acquires one, and reads the old number, before this transaction ends.
            await holder.renew_in(session)
            await raise_partitions(session, topic=wanted.topic, partitions=wanted.partitions)
            parameters = {"topic": wanted.topic, "from": found.pinned, "to": wanted.partitions}
            operation = await runs.begin(session, kind=PARTITIONS, actor=wanted.actor, parameters=parameters, total=0)
        failpoint("topics.partitions_pinned")
        return operation


@dataclass
class _LeaseHolder:
    """Holds the leases of all shards while it works."""

    sessions: Sessions
    owner: str
    leases: list[Lease] = field(default_factory=list)

    async def run(self, work: Callable[[], Awaitable[Operation]]) -> Operation:
        """Take the leases over, work, and release them. Raises: LeaseLost, if another process has taken one over."""
        self.leases = [Lease(shard=shard, owner=self.owner) for shard in range(SHARDS)]
        async with self.sessions.begin() as session:
            for lease in self.leases:
                await lease.take_over(await _driver_of(session))
        try:
            async with asyncio.TaskGroup() as group:
                renewing = group.create_task(self._renew())
                outcome = await work()
                renewing.cancel()
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            async with self.sessions.begin() as session:
                for lease in self.leases:
                    await lease.release(await _driver_of(session))
        return outcome

    async def renew_in(self, session: AsyncSession) -> None:
        """Renew the leases, and lock them until the transaction ends. Raises: LeaseLost."""
        driver = await _driver_of(session)
        for lease in self.leases:
            if not await lease.renew(driver):
                raise LeaseLost

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW_INTERVAL_SECONDS)
            async with self.sessions.begin() as session:
                await self.renew_in(session)


async def _driver_of(session: AsyncSession) -> "asyncpg.Connection[asyncpg.Record]":
    return await session.run_sync(lambda sync_session: begun_connection(sync_session.connection()))


async def _wait_for_consumers(lag: TopicLag, groups: Sequence[str], timeout_seconds: float, *, on_lag: OnLag) -> None:
    """Wait until no group lags. Raises: ConsumersLag.

    The former leader may still publish a page that it fetched before it lost the lease. That is harmless: the events
    before that page were published before it, and the next leader publishes the page's events again. So in the old
    partition as well as in the new one no event comes before its key's earlier ones, and whichever copy is second is
    recognised as a duplicate.
    """
    deadline = time.monotonic() + timeout_seconds
    while lagging := {group: records for group, records in (await lag.of(groups)).items() if records}:
        if time.monotonic() >= deadline:
            raise ConsumersLag(lagging)
        on_lag(lagging)
        await asyncio.sleep(LAG_POLL_SECONDS)


def _published_by(service: str) -> list[str]:
    """Return the topics of the events that the service's module of `shared.events` declares."""
    module = import_module(f"shared.events.{service}").__name__
    return sorted({event.topic for event in EVENT_TYPES.values() if event.__module__ == module})

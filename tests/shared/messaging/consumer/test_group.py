"""Consumer groups on a real topic: events become effects, then offsets are committed, and dead members are replaced."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database import Database
from shared.events.users import CreditReserved
from shared.health import Unhealthy
from shared.heartbeat import HEARTBEAT
from shared.ids import new_id
from shared.messaging.consumer.group import ConsumerGroups
from shared.messaging.consumer.subscription import Subscription
from shared.messaging.envelope import EventContext
from shared.messaging.metrics import ASSIGNED_PARTITIONS, LAG, REBALANCES
from shared.messaging.outbox.publisher import partition_of
from tests.harness.database_outages import refusing_connections
from tests.harness.databases import execute_as_owner
from tests.harness.heartbeats import let_failing_age
from tests.harness.rows import Rows
from tests.harness.running import running_consumers
from tests.harness.waiting import until
from tests.shared.effects import CONSUMER, FAILING_CENTS, REJECTED_CENTS, has_effects, sequences_by_key
from tests.shared.messaging.consumer.topic import Topic


async def test_a_dead_letter_blocks_only_its_key(
    database: Database, topic: Topic, consumers_of: Callable[..., ConsumerGroups]
) -> None:
    good, rejected, failing = new_id(), new_id(), new_id()
    for sequence in range(1, 6):
        await topic.send(good, sequence)
        await topic.send(rejected, sequence, cents=REJECTED_CENTS if sequence == 3 else 100)
        await topic.send(failing, sequence, cents=FAILING_CENTS if sequence == 2 else 100)
    async with running_consumers(consumers_of(database)):
        await until(has_effects(database, 5 + 2 + 1), what="the events before the dead letters are applied")
        rows = Rows(database.sessions)

        async def others_are_dead_letters() -> bool:
            return await rows.count("dead_letter") == 3 + 4

        await until(others_are_dead_letters, what="the other events are dead letters")
    assert sequences_by_key(await rows.effects()) == {
        str(good): [1, 2, 3, 4, 5],
        str(rejected): [1, 2],
        str(failing): [1],
    }
    assert sorted(await rows.dead_letters()) == sorted(
        [
            (str(rejected), 3, "rule_violated"),
            (str(rejected), 4, "blocked"),
            (str(rejected), 5, "blocked"),
            (str(failing), 2, "retrying"),
            (str(failing), 3, "blocked"),
            (str(failing), 4, "blocked"),
            (str(failing), 5, "blocked"),
        ]
    )


async def test_offsets_are_committed_after_the_effects_and_a_restart_repeats_nothing(
    database: Database,
    topic: Topic,
    consumers_of: Callable[..., ConsumerGroups],
    committed: Callable[[UUID], Awaitable[int | None]],
) -> None:
    user_id = new_id()
    await topic.send(user_id, 1)
    async with running_consumers(consumers_of(database)):
        await until(has_effects(database, 1), what="the first is applied")
    assert await committed(user_id) == 1
    await topic.send(user_id, 2)
    async with running_consumers(consumers_of(database)):
        await until(has_effects(database, 2), what="the second is applied")
    assert await Rows(database.sessions).effects() == [(str(user_id), 1), (str(user_id), 2)]


async def test_events_wait_while_the_database_rejects_connections(
    database: Database, topic: Topic, consumers_of: Callable[..., ConsumerGroups], postgres_admin_url: str
) -> None:
    user_id = new_id()
    rows = Rows(database.sessions)
    async with running_consumers(consumers_of(database)):
        await topic.send(user_id, 1)
        await until(has_effects(database, 1), what="the first is applied")
        async with refusing_connections(postgres_admin_url, database.engine.url.render_as_string(hide_password=False)):
            await topic.send(user_id, 2)
            await asyncio.sleep(1)
        await until(has_effects(database, 2), what="the second is applied")
    assert (await rows.effects(), await rows.dead_letters()) == ([(str(user_id), 1), (str(user_id), 2)], [])


async def test_a_stuck_consumer_is_reported_and_an_idle_one_is_not(
    database: Database, topic: Topic, consumers_of: Callable[..., ConsumerGroups]
) -> None:
    consumers = consumers_of(database)
    heartbeat = consumers._members[0].worker.heartbeat
    heartbeat.max_age_seconds = 3.0
    async with running_consumers(consumers), database.sessions() as blocker:
        started_at = time.monotonic()

        async def has_polled_in_vain() -> bool:
            return heartbeat._beat_at > started_at + 2

        await until(has_polled_in_vain, what="the idle consumer has polled")
        await consumers.check()
        await blocker.execute(sa.text("LOCK TABLE effect"))
        await topic.send(new_id(), 1)

        async def is_stuck() -> bool:
            return consumers.stuck() == [CONSUMER]

        await until(is_stuck, seconds=9, what="the stuck consumer is reported")
        with pytest.raises(Unhealthy, match=rf"^{CONSUMER}: no heartbeat for \d s$"):
            await consumers.check()
        await blocker.rollback()

        async def has_recovered() -> bool:
            return consumers.stuck() == []

        await until(has_recovered, what="it recovers")


async def test_the_heartbeat_of_an_idle_consumer_is_fresh_although_nobody_asks_for_its_health(
    database: Database, consumers_of: Callable[..., ConsumerGroups]
) -> None:
    heartbeat = HEARTBEAT.labels(CONSUMER)
    heartbeat.set(0)

    async def is_fresh() -> bool:
        age_seconds: float = time.time() - heartbeat._value.get()
        return age_seconds < 5

    async with running_consumers(consumers_of(database)):
        await until(is_fresh, seconds=10, what="the heartbeat is fresh")


async def test_lag_counts_the_events_that_are_not_applied(
    database: Database, topic: Topic, consumers_of: Callable[..., ConsumerGroups]
) -> None:
    consumers = consumers_of(database)
    rebalances_before: float = REBALANCES.labels(CONSUMER)._value.get()

    async def none_waits() -> bool:
        lag: float = LAG.labels(CONSUMER)._value.get()
        return lag == 0

    async with running_consumers(consumers), database.sessions() as blocker:
        await topic.send(new_id(), 1)
        await until(has_effects(database, 1), what="the first is applied")
        LAG.labels(CONSUMER).set(-1)
        await until(none_waits, what="no event waits")
        await blocker.execute(sa.text("LOCK TABLE effect"))
        # One for each partition: aiokafka fetches no more of a partition whose last fetch waits for the consumer.
        by_partition = {partition_of(str(user_id).encode(), 6): user_id for user_id in (new_id() for _ in range(100))}
        for partition in range(3):
            await topic.send(by_partition[partition], 1)

        async def three_wait() -> bool:
            lag: float = LAG.labels(CONSUMER)._value.get()
            return lag == 3

        await until(three_wait, what="three events wait")
        await blocker.rollback()
        await until(none_waits, what="no event waits")
        assert ASSIGNED_PARTITIONS.labels(CONSUMER)._value.get() == 6
    assert REBALANCES.labels(CONSUMER)._value.get() > rebalances_before


async def test_a_consumer_that_cannot_apply_anything_is_reported_and_stays_live(
    database: Database, topic: Topic, consumers_of: Callable[..., ConsumerGroups]
) -> None:
    consumers = consumers_of(database)
    (member,) = consumers._members
    heartbeat = member.worker.heartbeat
    await execute_as_owner(database.sessions, "ALTER TABLE inbox RENAME TO inbox_away")
    async with running_consumers(consumers):
        await topic.send(new_id(), 1)

        async def fails() -> bool:
            return heartbeat._failing_since is not None

        await until(fails, what="the consumer fails")
        let_failing_age(heartbeat, seconds=61)
        with pytest.raises(Unhealthy, match=rf"^{CONSUMER}: no success for \d\d s$"):
            await consumers.check()
        assert consumers.stuck() == []
        # Between two fetches: a dead letter that is stored after its event has failed needs the table as well.
        async with member._handling:
            await execute_as_owner(database.sessions, "ALTER TABLE inbox_away RENAME TO inbox")
        await until(has_effects(database, 1), what="the event is applied")

        async def has_recovered() -> bool:
            return heartbeat.problem() is None

        await until(has_recovered, what="the consumer recovers")
        await consumers.check()


async def test_two_members_share_the_partitions_and_keep_each_key_in_order(
    database: Database, topic: Topic, consumers_of: Callable[..., ConsumerGroups]
) -> None:
    users = [new_id() for _ in range(4)]
    async with running_consumers(consumers_of(database)):
        for sequence in range(1, 11):
            for user_id in users:
                await topic.send(user_id, sequence)
        async with running_consumers(consumers_of(database)):
            for sequence in range(11, 21):
                for user_id in users:
                    await topic.send(user_id, sequence)
            await until(has_effects(database, 80), what="all events are applied")
    by_key = sequences_by_key(await Rows(database.sessions).effects())
    assert by_key == {str(user_id): list(range(1, 21)) for user_id in users}


async def test_a_slow_backlog_is_fetched_in_small_fetches(
    database: Database,
    topic: Topic,
    consumers_of: Callable[..., ConsumerGroups],
    committed: Callable[[UUID], Awaitable[int | None]],
) -> None:
    """Seed 5004 of the workload `slow-consumer`: a member kept working on 1,000 records of partitions it had lost."""
    events, handled = 400, 0
    users = Subscription("users")

    @users.on(CreditReserved)
    async def apply_slowly(_session: AsyncSession, _event: CreditReserved, _context: EventContext) -> None:
        nonlocal handled
        handled += 1
        await asyncio.sleep(0.02)

    user_id = new_id()
    for sequence in range(1, events + 1):
        await topic.send(user_id, sequence)

    async def some_are_committed() -> bool:
        return await committed(user_id) is not None

    async with running_consumers(consumers_of(database, handlers=users)):
        await until(some_are_committed, what="the first fetch is committed")
    # The offset of the first fetch, of some hundred events, and not of one that holds the whole backlog.
    first = await committed(user_id)
    assert first is not None
    assert first < events
    assert handled < events

"""From a real topic to effects: poison stops its own key, trouble is waited out, offsets follow the effects."""

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from shared.database import Database
from shared.events.users import CreditReserved
from shared.health import Unhealthy
from shared.ids import new_id
from shared.messaging.consumer.group import ConsumerGroups
from shared.messaging.consumer.subscription import Subscription
from shared.messaging.envelope import EventContext, Headers
from tests.harness.rows import Rows
from tests.harness.waiting import until
from tests.shared.messaging.consuming import Topic, effects_are, running
from tests.shared.messaging.scenario import BROKEN_CENTS, CONSUMER, REFUSED_CENTS, sequences_by_key


async def test_a_poison_event_stops_its_own_key_only(
    database: Database, topic: Topic, consumers_of: Callable[..., ConsumerGroups]
) -> None:
    good, refused, broken = new_id(), new_id(), new_id()
    for sequence in range(1, 6):
        await topic.send(good, sequence)
        await topic.send(refused, sequence, cents=REFUSED_CENTS if sequence == 3 else 100)
        await topic.send(broken, sequence, cents=BROKEN_CENTS if sequence == 2 else 100)
    async with running(consumers_of(database)):
        await until(effects_are(database, 5 + 2 + 1), what="what can be applied is applied")
        rows = Rows(database.sessions)

        async def all_dead_letters() -> bool:
            return await rows.count("dead_letter") == 3 + 4

        await until(all_dead_letters, what="the rest is parked")
    assert sequences_by_key(await rows.effects()) == {
        str(good): [1, 2, 3, 4, 5],
        str(refused): [1, 2],
        str(broken): [1],
    }
    assert sorted(await rows.dead_letters()) == sorted(
        [
            (str(refused), 3, "rule_violated"),
            (str(refused), 4, "blocked"),
            (str(refused), 5, "blocked"),
            (str(broken), 2, "retrying"),
            (str(broken), 3, "blocked"),
            (str(broken), 4, "blocked"),
            (str(broken), 5, "blocked"),
        ]
    )


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        (None, []),
        (b"{}", [("ce_id", b"\xff\xfe")]),
        (b"{}", [("ce_id", None)]),
        (b"{}", [("ce\x00id", b"one\x00two")]),
        (b"\x00", [("ce_specversion", b"1.0"), ("ce_id", b"not-a-uuid")]),
        (b"{}", [("ce_specversion", b"0.3"), ("ce_id", str(new_id()).encode())]),
    ],
)
async def test_a_record_that_is_no_event_is_parked_and_the_next_ones_flow(
    database: Database,
    topic: Topic,
    consumers_of: Callable[..., ConsumerGroups],
    value: bytes | None,
    headers: Headers,
) -> None:
    user_id = new_id()
    await topic.send_raw(b"\xff\x00key", value, headers)
    await topic.send(user_id, 1)
    async with running(consumers_of(database)):
        await until(effects_are(database, 1), what="the good event is applied")
    assert await Rows(database.sessions).dead_letters() == [("\\xff\\x00key", None, "undecodable")]


async def test_repeated_records_are_applied_once(
    database: Database, topic: Topic, consumers_of: Callable[..., ConsumerGroups]
) -> None:
    user_id = new_id()
    for sequence in range(1, 4):
        await topic.send(user_id, sequence, times=3)
    async with running(consumers_of(database)):
        await until(effects_are(database, 3), what="all are applied")
    assert await Rows(database.sessions).effects() == [(str(user_id), n) for n in (1, 2, 3)]


async def test_offsets_follow_the_effects_and_a_restart_repeats_nothing(
    database: Database,
    topic: Topic,
    consumers_of: Callable[..., ConsumerGroups],
    committed: Callable[[UUID], Awaitable[int | None]],
) -> None:
    user_id = new_id()
    await topic.send(user_id, 1)
    async with running(consumers_of(database)):
        await until(effects_are(database, 1), what="the first is applied")
    assert await committed(user_id) == 1
    await topic.send(user_id, 2)
    async with running(consumers_of(database)):
        await until(effects_are(database, 2), what="the second is applied")
    assert await Rows(database.sessions).effects() == [(str(user_id), 1), (str(user_id), 2)]


async def test_while_the_database_refuses_connections_nothing_is_lost_or_parked(
    database: Database, topic: Topic, consumers_of: Callable[..., ConsumerGroups], postgres_admin_url: str
) -> None:
    user_id = new_id()
    name = database.engine.url.database
    rows = Rows(database.sessions)
    admin = create_async_engine(
        postgres_admin_url.replace("postgresql://", "postgresql+asyncpg://"), isolation_level="AUTOCOMMIT"
    )
    async with running(consumers_of(database)):
        await topic.send(user_id, 1)
        await until(effects_are(database, 1), what="the first is applied")
        async with admin.connect() as connection:
            await connection.execute(sa.text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false"))
            await connection.execute(
                sa.text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"), {"name": name}
            )
            await topic.send(user_id, 2)
            await asyncio.sleep(1)
            await connection.execute(sa.text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true"))
        await until(effects_are(database, 2), what="the second is applied")
    await admin.dispose()
    assert (await rows.effects(), await rows.dead_letters()) == ([(str(user_id), 1), (str(user_id), 2)], [])


async def test_a_stuck_consumer_is_noticed_and_an_idle_one_is_not(
    database: Database,
    topic: Topic,
    consumers_of: Callable[..., ConsumerGroups],
) -> None:
    consumers = consumers_of(database, max_heartbeat_age_seconds=1.0)
    async with running(consumers), database.sessions() as blocker:
        await asyncio.sleep(1.5)
        await consumers.check()
        await blocker.execute(sa.text("LOCK TABLE effect"))
        await topic.send(new_id(), 1)

        async def is_stalled() -> bool:
            return consumers.stuck() == [CONSUMER]

        await until(is_stalled, seconds=8, what="the stuck consumer is noticed")
        with pytest.raises(Unhealthy, match=CONSUMER):
            await consumers.check()
        await blocker.rollback()

        async def has_recovered() -> bool:
            return consumers.stuck() == []

        await until(has_recovered, what="it recovers")


async def test_a_consumer_whose_coordination_died_is_replaced(
    database: Database, topic: Topic, consumers_of: Callable[..., ConsumerGroups]
) -> None:
    """Seed 1010 of the workload `orders`: a socket's error, which aiokafka does not foresee, ended it for good."""
    user_id = new_id()
    consumers = consumers_of(database)
    async with running(consumers):
        await topic.send(user_id, 1)
        await until(effects_are(database, 1), what="the first is applied")
        (member,) = consumers._members
        subscriber = member._subscriber
        assert subscriber.consumer is not None
        coordinator = subscriber.consumer._coordinator
        coordinator.ensure_coordinator_known = _closed
        coordinator.coordinator_dead()
        await asyncio.wait({coordinator._coordination_task})
        await topic.send(user_id, 2)
        await until(effects_are(database, 2), what="the second is applied")
    assert await Rows(database.sessions).effects() == [(str(user_id), 1), (str(user_id), 2)]


async def _closed() -> None:
    raise RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")


async def test_members_share_the_work_and_keep_each_key_in_order(
    database: Database, topic: Topic, consumers_of: Callable[..., ConsumerGroups]
) -> None:
    users = [new_id() for _ in range(4)]
    async with running(consumers_of(database)):
        for sequence in range(1, 11):
            for user_id in users:
                await topic.send(user_id, sequence)
        async with running(consumers_of(database)):
            for sequence in range(11, 21):
                for user_id in users:
                    await topic.send(user_id, sequence)
            await until(effects_are(database, 80), what="all are applied")
    by_key = sequences_by_key(await Rows(database.sessions).effects())
    assert by_key == {str(user_id): list(range(1, 21)) for user_id in users}


async def test_a_slow_backlog_is_taken_in_short_batches(
    database: Database,
    topic: Topic,
    consumers_of: Callable[..., ConsumerGroups],
    committed: Callable[[UUID], Awaitable[int | None]],
) -> None:
    """Seed 5004 of the workload `slow-consumer`: a member worked on at 1,000 records whose partitions it had lost."""
    events, handled = 400, 0
    users = Subscription("users")

    @users.on(CreditReserved)
    async def dawdle(_session: AsyncSession, _event: CreditReserved, _context: EventContext) -> None:
        nonlocal handled
        handled += 1
        await asyncio.sleep(0.02)

    user_id = new_id()
    for sequence in range(1, events + 1):
        await topic.send(user_id, sequence)

    async def some_are_committed() -> bool:
        return await committed(user_id) is not None

    async with running(consumers_of(database, handlers=users)):
        await until(some_are_committed, what="the first batch is over")
        assert handled < events / 2

"""The numbers of events keep rising when the database has lost transactions: each generation begins above the last."""

import asyncio
import time

import sqlalchemy as sa

from shared.database import Database
from shared.ids import new_id
from shared.messaging.outbox.outbox import record
from shared.messaging.storage.generation import NUMBER_BITS, current_generation, generation_of, raise_generation
from tests.harness.databases import execute_as_owner, until_waiting
from tests.harness.rows import Rows
from tests.shared.effects import credit_reserved

SEQUENCES = "SELECT key, sequence FROM outbox ORDER BY id"
GENERATIONS = "SELECT generation, actor, note FROM stream_generation ORDER BY generation"


async def start_timeline(database: Database) -> None:
    """Let the server's timeline differ from the one that the database knows."""
    await execute_as_owner(database.sessions, "UPDATE stream_generation SET timeline = '00000000'")


async def record_one(database: Database, user_id: object) -> None:
    async with database.sessions.begin() as session:
        record(session, credit_reserved(user_id))  # type: ignore[arg-type]


async def test_the_first_generation_leaves_the_numbers_as_they_are(database: Database) -> None:
    async with database.sessions.begin() as session:
        assert await current_generation(session) == 0
    assert generation_of(1) == generation_of(2**NUMBER_BITS - 1) == 0


async def test_every_key_begins_after_the_first_number_of_a_new_generation(database: Database) -> None:
    old, new = new_id(), new_id()
    await record_one(database, old)
    await record_one(database, old)
    async with database.sessions.begin() as session:
        generation = await raise_generation(session, actor="me", note="a dump was restored")
    await record_one(database, old)
    await record_one(database, new)
    await record_one(database, old)
    base = generation << NUMBER_BITS
    assert await Rows(database.sessions).of(SEQUENCES) == [
        (str(old), 1),
        (str(old), 2),
        (str(old), base + 1),
        (str(new), base + 1),
        (str(old), base + 2),
    ]
    assert generation_of(base + 2) == generation
    assert await Rows(database.sessions).of(GENERATIONS) == [
        (0, "migration", "the first one"),
        (generation, "me", "a dump was restored"),
    ]


async def test_a_later_generation_is_higher_even_within_a_second(database: Database) -> None:
    async with database.sessions.begin() as session:
        first = await raise_generation(session, actor="me", note="")
        second = await raise_generation(session, actor="me", note="")
    assert second > first


async def test_a_database_that_is_restored_twice_gets_two_generations(database: Database) -> None:
    raised = []
    for _ in range(2):
        async with database.sessions() as session:
            raised.append(await raise_generation(session, actor="me", note=""))
            # As a second restore of the same backup, which knows nothing of the first.
            await session.rollback()
        await asyncio.sleep(1.1)
    assert raised[0] < raised[1]
    assert abs(raised[1] - (time.time() - 1_767_225_600)) < 60


async def test_a_new_timeline_raises_the_generation_with_the_next_event(database: Database) -> None:
    user_id = new_id()
    await record_one(database, user_id)
    await start_timeline(database)
    await record_one(database, user_id)
    await record_one(database, user_id)
    sequences = [sequence for _, sequence in await Rows(database.sessions).of(SEQUENCES)]
    generation = generation_of(sequences[1])
    assert sequences == [1, (generation << NUMBER_BITS) + 1, (generation << NUMBER_BITS) + 2]
    assert await Rows(database.sessions).of(GENERATIONS) == [
        (0, "migration", "the first one"),
        (generation, "system", "the server has started a timeline"),
    ]


async def test_transactions_that_notice_a_new_timeline_at_once_raise_it_once(database: Database) -> None:
    await start_timeline(database)
    users = [new_id() for _ in range(4)]
    async with database.sessions.begin() as first:
        await current_generation(first)
        others = [asyncio.create_task(record_one(database, user_id)) for user_id in users]
        await until_waiting(database.sessions, transactions=len(users))
    await asyncio.gather(*others)
    assert await Rows(database.sessions).count("stream_generation") == 2
    generations = {generation_of(sequence) for _, sequence in await Rows(database.sessions).of(SEQUENCES)}
    assert len(generations) == 1
    assert generations != {0}


async def test_a_rolled_back_transaction_leaves_the_generation_to_the_next_one(database: Database) -> None:
    await start_timeline(database)
    async with database.sessions() as session:
        await current_generation(session)
        await session.rollback()
    assert await Rows(database.sessions).count("stream_generation") == 1
    await record_one(database, new_id())
    assert await Rows(database.sessions).count("stream_generation") == 2


async def test_a_purged_key_of_an_older_generation_begins_in_the_new_one(database: Database) -> None:
    async with database.sessions.begin() as session:
        await session.execute(sa.text("INSERT INTO event_stream_floor (topic, sequence) VALUES ('users', 40)"))
    await record_one(database, new_id())
    async with database.sessions.begin() as session:
        generation = await raise_generation(session, actor="me", note="")
    await record_one(database, new_id())
    sequences = [sequence for _, sequence in await Rows(database.sessions).of(SEQUENCES)]
    assert sequences == [41, (generation << NUMBER_BITS) + 1]

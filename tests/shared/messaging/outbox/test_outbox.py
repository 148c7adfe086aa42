"""Events are written with the transaction that records them, numbered and ordered by key."""

import asyncio
from uuid import UUID

import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from shared.database import Database, open_database
from shared.ids import new_id
from shared.messaging.outbox.outbox import record
from shared.telemetry import continued_trace
from tests.harness.executed_statements import executed_statements
from tests.harness.rows import Rows
from tests.shared.effects import credit_reserved


class Base(DeclarativeBase):
    """Declarative base of the test's table."""


class Effect(Base):
    """The table `effect`, mapped as an aggregate."""

    __tablename__ = "effect"

    id: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True)
    event_id: Mapped[UUID]
    key: Mapped[str]
    sequence: Mapped[int]


async def test_an_event_is_in_the_outbox_once_its_transaction_has_committed(database: Database) -> None:
    event = credit_reserved()
    with continued_trace("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", tracestate="a=b"):
        async with database.sessions.begin() as session:
            event_id = record(session, event)
    rows = await Rows(database.sessions).of(
        "SELECT event_id, topic, key, sequence, type, source, dataschema, payload,"
        " substr(traceparent, 4, 32), tracestate FROM outbox"
    )
    assert rows == [
        (
            event_id,
            "users",
            str(event.user_id),
            1,
            "user.credit_reserved",
            "urn:orderly:users",
            "urn:orderly:event:user.credit_reserved",
            event.model_dump_json().encode(),
            "0af7651916cd43dd8448eb211c80319c",
            "a=b",
        )
    ]


async def test_a_rolled_back_transaction_leaves_no_event_and_no_gap(database: Database) -> None:
    event = credit_reserved()
    with pytest.raises(ZeroDivisionError):
        async with database.sessions.begin() as session:
            record(session, event)
            raise ZeroDivisionError
    async with database.sessions.begin() as session:
        record(session, event)
    assert await Rows(database.sessions).of("SELECT sequence FROM outbox") == [(1,)]


async def test_a_rolled_back_savepoint_drops_only_its_own_events(database: Database) -> None:
    first, second, third = credit_reserved(), credit_reserved(), credit_reserved()
    async with database.sessions.begin() as session:
        record(session, first)
        with pytest.raises(ZeroDivisionError):
            async with session.begin_nested():
                record(session, second)
                raise ZeroDivisionError
        async with session.begin_nested():
            record(session, third)
    rows = await Rows(database.sessions).of("SELECT key FROM outbox ORDER BY id")
    assert rows == [(str(first.user_id),), (str(third.user_id),)]


async def test_a_reused_session_records_no_event_twice(database: Database) -> None:
    async with database.sessions() as session:
        record(session, credit_reserved())
        await session.commit()
        await session.execute(sa.text("SELECT 1"))
        await session.commit()
        record(session, credit_reserved())
        await session.rollback()
        await session.commit()
    assert await Rows(database.sessions).count("outbox") == 1


async def test_events_of_one_transaction_are_numbered_by_key_in_their_order(database: Database) -> None:
    one, other = new_id(), new_id()
    async with database.sessions.begin() as session:
        for user_id in (one, other, one, one, other):
            record(session, credit_reserved(user_id))
    rows = await Rows(database.sessions).of("SELECT key, sequence FROM outbox ORDER BY id")
    assert rows == [(str(one), 1), (str(other), 1), (str(one), 2), (str(one), 3), (str(other), 2)]


async def test_ids_follow_the_sequence_of_each_key_under_concurrency(database: Database) -> None:
    users = [new_id() for _ in range(3)]

    async def write(worker: int) -> None:
        for round_ in range(20):
            async with database.sessions.begin() as session:
                # Workers record in opposite orders, but must lock the streams' rows in the same order.
                for user_id in users if worker % 2 else reversed(users):
                    record(session, credit_reserved(user_id))
                if round_ % 5 == 4:
                    await session.rollback()

    await asyncio.gather(*(write(worker) for worker in range(8)))
    rows = await Rows(database.sessions).of("SELECT key, sequence FROM outbox ORDER BY id")
    expected = list(range(1, 8 * 16 + 1))
    assert {key: [s for k, s in rows if k == key] for key in map(str, users)} == {str(u): expected for u in users}


async def test_an_event_that_is_too_large_fails_its_transaction(database: Database) -> None:
    event = credit_reserved().model_copy(update={"currency": "x" * 600_000})
    with pytest.raises(asyncpg.CheckViolationError, match="ck_outbox_payload_size"):
        async with database.sessions.begin() as session:
            record(session, event)
    assert await Rows(database.sessions).count("event_stream") == 0


async def test_the_outbox_is_written_after_the_aggregates(database: Database) -> None:
    with executed_statements(database.engine) as statements:
        async with database.sessions.begin() as session:
            record(session, credit_reserved())
            session.add(Effect(event_id=new_id(), key="key", sequence=1))
    assert [" ".join(statement.split()[:3]) for statement in statements] == ["INSERT INTO effect", "WITH recorded AS"]


async def test_only_a_commit_that_recorded_events_calls_back(database: Database, database_url: str) -> None:
    calls: list[int] = []
    observed = open_database(database_url, service="test", pool_size=1, on_events_committed=lambda: calls.append(1))
    async with observed.sessions() as session:
        record(session, credit_reserved())
        await session.rollback()
        await session.execute(sa.text("SELECT 1"))
        await session.commit()
        assert calls == []
        record(session, credit_reserved())
        async with session.begin_nested():
            record(session, credit_reserved())
        assert calls == []
        await session.commit()
        assert calls == [1]
        await session.execute(sa.text("SELECT 1"))
        await session.commit()
    await observed.close()
    assert calls == [1]
    assert await Rows(database.sessions).count("outbox") == 2

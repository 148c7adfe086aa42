"""A buffer releases what its transaction collected, once, inside the commit."""

from collections.abc import AsyncIterator, Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import Session

from shared.commit_buffer import BufferedSession, CommitBuffer
from shared.database import Database, open_database
from tests.harness.databases import DatabaseFactory

EVENTS = (
    "before_commit",
    "after_commit",
    "after_transaction_create",
    "after_soft_rollback",
    "after_transaction_end",
)


@pytest.fixture
async def database(database_factory: DatabaseFactory) -> AsyncIterator[Database]:
    """An empty database."""
    opened = open_database(await database_factory(), service="test", pool_size=2)
    yield opened
    await opened.close()


Buffers = tuple[CommitBuffer[int], CommitBuffer[int]]
Released = list[tuple[str, list[int]]]


def remove_listeners(*buffers: CommitBuffer[int]) -> None:
    """Take the buffers off the session class, which outlives the test."""
    for buffer in buffers:
        for name in EVENTS:
            event.remove(BufferedSession, name, getattr(buffer, f"_{name}"))


@pytest.fixture
def released() -> Released:
    """The buffers that released items, with these items, in order."""
    return []


@pytest.fixture
def buffers(released: Released) -> Iterator[Buffers]:
    """A buffer that is last and, made after it, one that is not."""

    def committed(_session: Session) -> None:
        released.append(("committed", []))

    last = CommitBuffer[int](lambda _, items: released.append(("last", items)), committed=committed, is_last=True)
    first = CommitBuffer[int](lambda _, items: released.append(("first", items)))
    yield first, last
    remove_listeners(first, last)


async def test_items_are_released_once_and_the_last_buffer_comes_last(
    database: Database, buffers: Buffers, released: Released
) -> None:
    first, last = buffers
    async with database.sessions() as session:
        last.add(session, 1)
        first.add(session, 2, 3)
        assert released == []
        await session.commit()
        await session.execute(sa.text("SELECT 1"))
        await session.commit()
    assert released == [("first", [2, 3]), ("last", [1]), ("committed", [])]


@pytest.mark.usefixtures("buffers")
async def test_a_transaction_without_items_releases_nothing(database: Database, released: Released) -> None:
    async with database.sessions.begin() as session:
        await session.execute(sa.text("SELECT 1"))
    assert released == []


async def test_a_rollback_drops_all_items(database: Database, buffers: Buffers, released: Released) -> None:
    first, _ = buffers
    async with database.sessions() as session:
        first.add(session, 1)
        await session.rollback()
        await session.execute(sa.text("SELECT 1"))
        await session.commit()
    assert released == []


async def test_a_savepoint_that_rolls_back_drops_its_own_items_only(
    database: Database, buffers: Buffers, released: Released
) -> None:
    first, _ = buffers
    async with database.sessions.begin() as session:
        first.add(session, 1)
        async with session.begin_nested():
            first.add(session, 2)
            inner = await session.begin_nested()
            first.add(session, 3)
            await inner.rollback()
        outer = await session.begin_nested()
        first.add(session, 4)
        async with session.begin_nested():
            first.add(session, 5)
        await outer.rollback()
        first.add(session, 6)
    assert released == [("first", [1, 2, 6])]


async def test_an_error_in_the_release_rolls_the_transaction_back(database: Database, released: Released) -> None:
    def fail(_session: Session, _items: list[int]) -> None:
        raise ZeroDivisionError

    buffer = CommitBuffer[int](fail, committed=lambda _: released.append(("committed", [])))
    try:
        async with database.sessions() as session:
            await session.execute(sa.text("CREATE TABLE t (n int)"))
            buffer.add(session, 1)
            with pytest.raises(ZeroDivisionError):
                await session.commit()
            await session.rollback()
            assert await session.scalar(sa.text("SELECT to_regclass('t')")) is None
    finally:
        remove_listeners(buffer)
    assert released == []


@pytest.fixture
def dropping() -> Iterator[tuple[CommitBuffer[int], list[list[int]]]]:
    """A buffer that notes what it drops."""
    dropped: list[list[int]] = []
    buffer = CommitBuffer[int](lambda _session, _items: None, dropped=dropped.append)
    yield buffer, dropped
    remove_listeners(buffer)


async def test_a_rolled_back_savepoint_drops_its_own_items(
    database: Database, dropping: tuple[CommitBuffer[int], list[list[int]]]
) -> None:
    buffer, dropped = dropping
    async with database.sessions.begin() as session:
        buffer.add(session, 1)
        async with session.begin_nested() as savepoint:
            buffer.add(session, 2)
            await savepoint.rollback()
    assert dropped == [[2]]


async def test_a_rolled_back_transaction_drops_its_items_once(
    database: Database, dropping: tuple[CommitBuffer[int], list[list[int]]]
) -> None:
    buffer, dropped = dropping
    async with database.sessions() as session:
        buffer.add(session, 1, 2)
        await session.execute(sa.text("SELECT 1"))
        await session.rollback()
    assert dropped == [[1, 2]]


async def test_a_commit_that_fails_drops_what_was_released(
    database: Database, dropping: tuple[CommitBuffer[int], list[list[int]]]
) -> None:
    buffer, dropped = dropping
    async with database.sessions.begin() as session:
        await session.execute(sa.text("CREATE TABLE once (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)"))
    with pytest.raises(sa.exc.DBAPIError):
        async with database.sessions.begin() as session:
            buffer.add(session, 1)
            await session.execute(sa.text("INSERT INTO once VALUES (1), (1)"))
    assert dropped == [[1]]

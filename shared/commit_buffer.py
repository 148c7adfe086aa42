"""Buffers of items that a transaction collects and releases when it commits. Savepoints are respected."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session, SessionTransaction

T = TypeVar("T")


class BufferedSession(Session):
    """The session class of every service. Its commits release the items that the buffers collected."""


@dataclass
class _Collected(Generic[T]):
    """The items of one session in a buffer."""

    items: list[T] = field(default_factory=list)
    savepoints: dict[SessionTransaction, int] = field(default_factory=dict)
    """The number of items at the beginning of each savepoint."""
    released: list[T] = field(default_factory=list)


class CommitBuffer(Generic[T]):
    """Collects items during a transaction and passes them to `release` in one call when the transaction commits.

    `release` may run the transaction's last statements; it is not called without items. `committed` is called after a
    commit that released items, `dropped` with the items of a transaction or savepoint that was rolled back. At most one
    buffer may be `is_last`: it is released after the others.
    """

    def __init__(
        self,
        release: Callable[[Session, list[T]], None],
        *,
        committed: Callable[[Session], None] | None = None,
        dropped: Callable[[list[T]], None] | None = None,
        is_last: bool = False,
    ) -> None:
        self._release = release
        self._committed = committed
        self._dropped = dropped
        event.listen(BufferedSession, "before_commit", self._before_commit, insert=not is_last)
        event.listen(BufferedSession, "after_commit", self._after_commit)
        event.listen(BufferedSession, "after_transaction_create", self._after_transaction_create)
        event.listen(BufferedSession, "after_soft_rollback", self._after_soft_rollback)
        event.listen(BufferedSession, "after_transaction_end", self._after_transaction_end)

    def add(self, session: AsyncSession, *items: T) -> None:
        """Collect items for the session's transaction. Begins the transaction if there is none."""
        if not session.in_transaction():
            session.sync_session.begin()
        self._collected(session.sync_session).items.extend(items)

    def _collected(self, session: Session) -> _Collected[T]:
        collected: _Collected[T] = session.info.setdefault(self, _Collected())
        return collected

    def _before_commit(self, session: Session) -> None:
        # SQLAlchemy also calls this for a savepoint. The items wait for the commit of the transaction itself.
        if session.in_nested_transaction():
            return
        collected = self._collected(session)
        collected.released, collected.items = collected.items, []
        if collected.released:
            self._release(session, collected.released)

    def _after_commit(self, session: Session) -> None:
        if session.in_nested_transaction():
            return
        collected: _Collected[T] | None = session.info.pop(self, None)
        if collected is not None and collected.released and self._committed is not None:
            self._committed(session)

    def _after_transaction_create(self, session: Session, transaction: SessionTransaction) -> None:
        if transaction.nested:
            collected = self._collected(session)
            collected.savepoints[transaction] = len(collected.items)

    def _after_soft_rollback(self, session: Session, transaction: SessionTransaction) -> None:
        if transaction.nested:
            collected = self._collected(session)
            first = collected.savepoints.pop(transaction)
            dropped = collected.items[first:]
            del collected.items[first:]
        else:
            dropped = self._pop_all(session)
        if dropped and self._dropped is not None:
            self._dropped(dropped)

    def _after_transaction_end(self, session: Session, transaction: SessionTransaction) -> None:
        # If the rollback itself fails, on a dead connection, SQLAlchemy calls only this.
        if transaction.parent is None and (dropped := self._pop_all(session)) and self._dropped is not None:
            self._dropped(dropped)

    def _pop_all(self, session: Session) -> list[T]:
        collected: _Collected[T] = session.info.pop(self, _Collected())
        return [*collected.items, *collected.released]

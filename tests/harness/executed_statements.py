"""The statements that an engine's connections execute, those on the driver's connection included."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from asyncpg.connection import LoggedQuery
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

_CONTROL = ("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE")
_INTROSPECTION = ("SELECT current_setting('jit')", "SELECT set_config('jit'", "WITH RECURSIVE typeinfo_tree")
"""asyncpg's own statements on a connection that meets a type for the first time."""


@dataclass(frozen=True)
class Executed:
    """A statement, and the values of its parameters: of the first row, if it was executed for many."""

    sql: str
    arguments: tuple[Any, ...]


@contextmanager
def executed_statements(engine: AsyncEngine) -> Iterator[list[str]]:
    """Collect the statements of connections that leave the pool in this block, without transaction control."""
    statements: list[str] = []
    with _listening(engine, lambda statement: statements.append(" ".join(statement.sql.split()))):
        yield statements


@contextmanager
def executed_with_arguments(engine: AsyncEngine) -> Iterator[list[Executed]]:
    """Collect them with the values of their parameters."""
    statements: list[Executed] = []
    with _listening(engine, statements.append):
        yield statements


@contextmanager
def _listening(engine: AsyncEngine, report: Callable[[Executed], None]) -> Iterator[None]:
    def collect(text: str, arguments: Sequence[Any]) -> None:
        # As it is: a comment ends with its line.
        statement = Executed(text.strip(), tuple(arguments))
        if not " ".join(text.split()).startswith((*_CONTROL, *_INTROSPECTION)):
            report(statement)

    def collect_from_driver(query: LoggedQuery) -> None:
        is_for_many = bool(query.args) and isinstance(query.args[0], tuple)
        collect(query.query, query.args[0] if is_for_many else query.args)

    def collect_from_engine(
        _connection: object, _cursor: object, statement: str, parameters: Any, _context: object, executemany: bool
    ) -> None:
        # The engine prepares its statements, and the driver's logger does not see prepared ones.
        collect(statement, parameters[0] if executemany else parameters)

    def check_out(connection: Any, *_: object) -> None:
        connection.driver_connection.add_query_logger(collect_from_driver)

    def check_in(connection: Any, *_: object) -> None:
        if connection is not None:
            connection.driver_connection.remove_query_logger(collect_from_driver)

    pool = engine.sync_engine.pool
    event.listen(pool, "checkout", check_out)
    event.listen(pool, "checkin", check_in)
    event.listen(engine.sync_engine, "before_cursor_execute", collect_from_engine)
    try:
        yield
    finally:
        event.remove(pool, "checkout", check_out)
        event.remove(pool, "checkin", check_in)
        event.remove(engine.sync_engine, "before_cursor_execute", collect_from_engine)

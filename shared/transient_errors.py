"""Classification of errors: transient errors of the infrastructure, or permanent errors of the work itself."""

from traceback import walk_tb

import asyncpg
from sqlalchemy import exc

from shared.connection_errors import CONNECTION_ERRORS

_PERMANENT_SQLSTATES = ("0A", "21", "22", "23", "42", "P0")
"""SQLSTATE classes that repeating a statement does not change: data, constraints, syntax, raised exceptions."""
_REPEATABLE_SQLSTATES = frozenset({"40001", "40P01"})
"""Serialization failure and deadlock: PostgreSQL has ended one of the transactions that were in each other's way."""
_STALE_STATEMENTS = (asyncpg.InvalidCachedStatementError, asyncpg.OutdatedSchemaCacheError)
"""A migration has changed the type of a column or a composite type since a connection prepared its statement."""
_CACHE_LOOKUP_FAILED = "cache lookup failed"
"""Beginning of the message of an internal error: a migration has dropped a type that a prepared statement names."""
_DRIVERS = frozenset({"asyncpg", "sqlalchemy"})


class TransientError(Exception):
    """Raised by our own code for an error that a retry may solve."""


def is_transient(error: BaseException) -> bool:
    """Return whether the same work may succeed when it is retried later.

    Every error of the database is transient, except those that the statement itself causes: an event must not become a
    dead letter because the database is unreachable, full, locked or rejects connections, or its schema has changed.
    """
    if is_stale_statement(error):
        return True
    if isinstance(error, exc.DBAPIError):
        state = getattr(error.orig, "sqlstate", None)
        return state is None or not state.startswith(_PERMANENT_SQLSTATES)
    if isinstance(error, asyncpg.PostgresError):
        return not (error.sqlstate or "").startswith(_PERMANENT_SQLSTATES)
    return isinstance(error, (*CONNECTION_ERRORS, exc.TimeoutError, TransientError))


def is_stale_statement(error: BaseException) -> bool:
    """Return whether a schema change has invalidated a prepared statement: it works when its transaction is repeated.

    Other errors of its SQLSTATE class, 0A, are permanent.
    """
    cause = error.orig.__cause__ if isinstance(error, exc.DBAPIError) and error.orig is not None else error
    if isinstance(cause, asyncpg.InternalServerError):
        return str(cause).startswith(_CACHE_LOOKUP_FAILED)
    return isinstance(cause, _STALE_STATEMENTS)


def asks_to_repeat(error: BaseException) -> bool:
    """Return whether the same transaction probably works at once if it is repeated: nothing is unavailable.

    Besides stale statements these are deadlocks and serialization failures.
    """
    state = getattr(error.orig if isinstance(error, exc.DBAPIError) else error, "sqlstate", None)
    return is_stale_statement(error) or state in _REPEATABLE_SQLSTATES


def is_database_unavailable(error: BaseException) -> bool:
    """Return whether an error is transient and comes from the database: it is unreachable, locked, full or busy.

    The drivers pass on errors of sockets and time-outs unchanged. Only the traceback distinguishes an unreachable
    database from, for example, a missing file.
    """
    return is_transient(error) and any(
        frame.f_globals.get("__name__", "").partition(".")[0] in _DRIVERS for frame, _ in walk_tb(error.__traceback__)
    )

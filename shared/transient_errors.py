"""Classification of errors: transient errors of the infrastructure, or permanent errors of the work itself."""

from traceback import walk_tb

import asyncpg
from sqlalchemy import exc

_PERMANENT_SQLSTATES = ("0A", "21", "22", "23", "42", "P0")
"""SQLSTATE classes that repeating a statement does not change: data, constraints, syntax, raised exceptions."""
CONNECTION_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
"""Errors that asyncpg raises when a connection fails or is lost. If it is lost while a statement begins, asyncpg raises
an InternalClientError."""
_DRIVERS = frozenset({"asyncpg", "sqlalchemy"})


class TransientError(Exception):
    """Raised by our own code for an error that a retry may solve."""


def is_transient(error: BaseException) -> bool:
    """Return whether the same work may succeed when it is retried later.

    Every error of the database is transient, except those that the statement itself causes: an event must not become a
    dead letter because the database is unreachable, full, locked or rejects connections.
    """
    if isinstance(error, exc.DBAPIError):
        state = getattr(error.orig, "sqlstate", None)
        return state is None or not state.startswith(_PERMANENT_SQLSTATES)
    if isinstance(error, asyncpg.PostgresError):
        return not (error.sqlstate or "").startswith(_PERMANENT_SQLSTATES)
    return isinstance(error, (*CONNECTION_ERRORS, exc.TimeoutError, TransientError))


def is_database_unavailable(error: BaseException) -> bool:
    """Return whether an error is transient and comes from the database: it is unreachable, locked, full or busy.

    The drivers pass on errors of sockets and time-outs unchanged. Only the traceback distinguishes an unreachable
    database from, for example, a missing file.
    """
    return is_transient(error) and any(
        frame.f_globals.get("__name__", "").partition(".")[0] in _DRIVERS for frame, _ in walk_tb(error.__traceback__)
    )

"""Telling transient errors of the infrastructure from errors of the work itself."""

from traceback import walk_tb

import asyncpg
from sqlalchemy import exc

_OF_THE_STATEMENT = ("0A", "21", "22", "23", "42", "P0")
"""SQLSTATE classes of a statement's own error, which it raises again: data, constraint, syntax, raised exception."""
CONNECTION_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
"""Errors that asyncpg raises if it cannot connect or loses a connection; InternalClientError if it loses one as a
statement begins."""
_DRIVERS = frozenset({"asyncpg", "sqlalchemy"})


class TransientError(Exception):
    """Our own code could not do something now; another try may succeed."""


def is_transient(error: BaseException) -> bool:
    """Return whether the same work may succeed on another try without any change.

    A database that is unavailable, full, locked or rejecting connections is never an event's own error. So only the
    SQLSTATE classes of a statement's own error are not transient.
    """
    if isinstance(error, exc.DBAPIError):
        state = getattr(error.orig, "sqlstate", None)
        return state is None or not state.startswith(_OF_THE_STATEMENT)
    if isinstance(error, asyncpg.PostgresError):
        return not (error.sqlstate or "").startswith(_OF_THE_STATEMENT)
    return isinstance(error, (*CONNECTION_ERRORS, exc.TimeoutError, TransientError))


def is_database_unavailable(error: BaseException) -> bool:
    """Return whether a transient error comes from the database: unavailable, locked, full, or no free connection.

    The drivers pass on socket errors and time-outs unchanged. Only the traceback tells an unavailable database from a
    missing file.
    """
    return is_transient(error) and any(
        frame.f_globals.get("__name__", "").partition(".")[0] in _DRIVERS for frame, _ in walk_tb(error.__traceback__)
    )

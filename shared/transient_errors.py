"""Telling trouble with the infrastructure, which passes, from trouble with the work itself, which does not."""

from traceback import walk_tb

import asyncpg
from sqlalchemy import exc

_OF_THE_STATEMENT = ("0A", "21", "22", "23", "42", "P0")
"""SQLSTATE classes that the same statement meets again: its data, a constraint, its syntax, a raised exception."""
CONNECTION_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
"""What asyncpg itself raises when a connection can't be had or goes: an InternalClientError too, if it goes while a
statement begins."""
_DRIVERS = frozenset({"asyncpg", "sqlalchemy"})


class TransientError(Exception):
    """Our own code could not do something just now, and may well on another try."""


def is_transient(error: BaseException) -> bool:
    """Whether the same work may well succeed on another try, with nothing changed but time.

    A database that is away, full, locked or refusing is never an event's fault, so only what a statement brings
    on itself counts as its own.
    """
    if isinstance(error, exc.DBAPIError):
        state = getattr(error.orig, "sqlstate", None)
        return state is None or not state.startswith(_OF_THE_STATEMENT)
    if isinstance(error, asyncpg.PostgresError):
        return not (error.sqlstate or "").startswith(_OF_THE_STATEMENT)
    return isinstance(error, (*CONNECTION_ERRORS, exc.TimeoutError, TransientError))


def is_database_unavailable(error: BaseException) -> bool:
    """Whether it passes, and is the database's: it is away, locked or full, or no connection to it is free.

    The drivers hand on what a socket raises, and their time-outs, as they are: only the way that such a fault came
    tells a database that is away from a file that is missing.
    """
    return is_transient(error) and any(
        frame.f_globals.get("__name__", "").partition(".")[0] in _DRIVERS for frame, _ in walk_tb(error.__traceback__)
    )

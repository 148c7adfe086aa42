"""Descriptions of errors for logs and error columns, without the values that drivers put into their messages.

PostgreSQL's messages quote keys and rows, asyncpg's quote parameters, mail servers' replies quote addresses, and a
ValueError quotes what it could not parse. All of these may be personal.
"""

from collections.abc import Iterator
from pathlib import PurePath
from traceback import extract_tb

import asyncpg
from pydantic import ValidationError
from sqlalchemy import exc

from shared.errors import Problem

_SAFE_SQLSTATES = ("08", "0A", "25", "28", "3D", "40", "42", "53", "54", "55", "57", "58")
"""SQLSTATE classes whose messages name objects and conditions, but no values."""
_OWN_PACKAGES = frozenset({"services", "shared"})
"""Packages whose errors have messages that we wrote, without personal data."""
_SAFE_PACKAGES = frozenset({"aiokafka"})
"""Packages whose errors name servers and topics only."""


def describe_error(error: BaseException) -> str:
    """Return an error's class and what its message says without values."""
    cause = _driver_error(error)
    details = _details(cause)
    return f"{type(cause).__name__}: {details}" if details else type(cause).__name__


def error_chain(error: BaseException) -> Iterator[BaseException]:
    """Return an error, and the errors that caused it or that it was raised during, as a traceback shows them."""
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        context = None if following.__suppress_context__ else following.__context__
        following = following.__cause__ or context


def _driver_error(error: BaseException) -> BaseException:
    """Return the driver's error that SQLAlchemy wrapped, or else the error itself."""
    if isinstance(error, exc.DBAPIError) and error.orig is not None:
        return error.orig.__cause__ or error.orig
    return error


def _details(error: BaseException) -> str:
    if isinstance(error, Problem):
        return error.code
    if isinstance(error, ValidationError):
        return "; ".join(f"{'.'.join(map(str, e['loc'])) or 'body'}: {e['type']}" for e in error.errors())
    if isinstance(error, asyncpg.PostgresError):
        return _postgres_details(error)
    if _has_safe_message(error):
        return str(error).partition("\n")[0]
    if isinstance(error, OSError):
        return error.strerror or "" if type(error).__module__ in ("builtins", "socket", "ssl") else ""
    return _place(error)


def _postgres_details(error: asyncpg.PostgresError) -> str:
    """Return the SQLSTATE, the names of objects, and the message if it quotes no values. DETAIL always quotes them."""
    state = error.sqlstate or ""
    message = str(error.args[0]).partition("\n")[0] if error.args and state.startswith(_SAFE_SQLSTATES) else ""
    names = (
        f"{kind} {name}"
        for kind in ("constraint", "table", "column")
        if (name := getattr(error, f"{kind}_name", None)) is not None
    )
    return ", ".join(part for part in (f"SQLSTATE {state}", message, *names) if part)


def _has_safe_message(error: BaseException) -> bool:
    if isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError):
        return not isinstance(error, ValueError)  # asyncpg's DataError, which quotes a parameter
    package = type(error).__module__.partition(".")[0]
    return isinstance(error, exc.TimeoutError) or package in _OWN_PACKAGES | _SAFE_PACKAGES


def _place(error: BaseException) -> str:
    """Return where an error was raised, in place of its message."""
    frames = extract_tb(error.__traceback__)
    return f"in {frames[-1].name}, {PurePath(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""

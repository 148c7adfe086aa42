"""SQLAlchemy: a pooled connection is checked by the BEGIN of the transaction that it is taken for.

SQLAlchemy 2.1 with asyncpg pings before every transaction in a transaction of its own: three more round trips, 15 % of
what an order costs. This replaces `do_ping` of one engine's dialect and uses the private `_start_transaction` of
`AsyncAdapt_asyncpg_connection`, which the first statement would call otherwise. The pool replaces a connection whose
ping fails, and no statement has been executed by then. There is no upstream issue.
"""

import asyncio

from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import await_only

BEGIN_TIMEOUT_SECONDS = 5.0
"""A server that vanished without a word does not answer. After this time a new connection is opened."""


def ping_with_begin(engine: AsyncEngine) -> None:
    """Let an engine with `pool_pre_ping` ping by beginning the transaction."""

    def begin(dbapi_connection: DBAPIConnection) -> bool:
        start = dbapi_connection._start_transaction()  # noqa: SLF001
        try:
            await_only(asyncio.wait_for(start, BEGIN_TIMEOUT_SECONDS))
        except TimeoutError:
            return False
        return True

    engine.sync_engine.dialect.do_ping = begin  # type: ignore[method-assign]

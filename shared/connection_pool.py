"""The pool of database connections: requests may use most of it, and wait for it only briefly.

Consumers, the relay's helpers, jobs and health checks share the pool with requests. A request is marked by
`request_share`; the rest of the pool is reserved for everything else, so that events are applied, and health checks
succeed, while requests hold or want more connections than there are.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from prometheus_client import Counter, Gauge
from sqlalchemy import exc
from sqlalchemy.pool import AsyncAdaptedQueuePool, ConnectionPoolEntry, PoolProxiedConnection
from sqlalchemy.util import await_only

from shared.telemetry import span

POOL_TIMEOUT_SECONDS = 5.0
"""Upper bound of the wait of consumers and jobs for a connection. Raised, they notice an exhausted pool later."""
REQUEST_POOL_TIMEOUT_SECONDS = 1.0
"""Upper bound of a request's wait for a connection. Raised, overload makes responses slower; lowered, short bursts are
refused."""
RESERVED_SHARE = 5
"""One in this many connections is reserved for everything but requests."""

POOL_SIZE = Gauge("database_pool_max_connections", "Upper bound of the pool's connections")
POOL_IN_USE = Gauge("database_pool_in_use_connections", "Connections that requests, consumers and jobs use now")
POOL_WAITING = Gauge("database_pool_waiting", "Requests, batches and jobs that wait for a connection or for its set-up")
POOL_TIMEOUTS = Counter(
    "database_pool_timeouts_total",
    "Waits for a connection that took too long and failed: 1 s for a request, 5 s for everything else",
)


_ALL_IN_USE = "all connections that requests may use are in use"


class NoFreeConnection(exc.TimeoutError):
    """A request has waited for a database connection for too long. Nothing of its transaction has begun."""


@dataclass
class _Share:
    """The mark of one request. Tasks that the request started inherit it, and may outlive the request."""

    is_open: bool = True


_share: ContextVar[_Share | None] = ContextVar("request_share", default=None)


def _is_request() -> bool:
    share = _share.get()
    return share is not None and share.is_open


@contextmanager
def request_share() -> Iterator[None]:
    """Let sessions in this block use the requests' connections only."""
    share = _Share()
    token = _share.set(share)
    try:
        yield
    finally:
        share.is_open = False
        _share.reset(token)


class ConnectionPool(AsyncAdaptedQueuePool):
    """A pool that counts who waits for it, and in which requests leave some connections to others."""

    waiting = 0
    request_timeout_seconds = REQUEST_POOL_TIMEOUT_SECONDS
    background_timeout_seconds = POOL_TIMEOUT_SECONDS

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        size = self.size()
        self._places = asyncio.Semaphore(size - (max(1, size // RESERVED_SHARE) if size > 1 else 0))
        self._lent_to_requests: set[ConnectionPoolEntry] = set()

    def connect(self) -> PoolProxiedConnection:
        """Take a connection out of the pool. Raises: NoFreeConnection in a request, else SQLAlchemy's TimeoutError."""
        self.waiting += 1
        try:
            # The wait for a free connection, and the BEGIN that it is pinged with.
            with span("acquire connection"):
                return super().connect()
        except exc.TimeoutError:
            POOL_TIMEOUTS.inc()
            raise
        finally:
            self.waiting -= 1

    @property
    def _timeout(self) -> float:  # SQLAlchemy reads its attribute where a wait begins
        return self.request_timeout_seconds if _is_request() else self.background_timeout_seconds

    @_timeout.setter
    def _timeout(self, seconds: float) -> None:
        self.background_timeout_seconds = seconds

    def _do_get(self) -> ConnectionPoolEntry:
        if not _is_request():
            return super()._do_get()
        await_only(self._take_place())
        try:
            entry = super()._do_get()
        except BaseException as error:
            self._places.release()
            if isinstance(error, exc.TimeoutError):
                raise NoFreeConnection(_ALL_IN_USE) from error
            raise
        self._lent_to_requests.add(entry)
        return entry

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        super()._do_return_conn(record)
        if record in self._lent_to_requests:
            self._lent_to_requests.remove(record)
            self._places.release()

    async def _take_place(self) -> None:
        """Wait for one of the requests' connections, in the order of arrival. Raises: NoFreeConnection."""
        if not self._places.locked():
            await self._places.acquire()
            return
        try:
            async with asyncio.timeout(self.request_timeout_seconds):
                await self._places.acquire()
        except TimeoutError as error:
            raise NoFreeConnection(_ALL_IN_USE) from error

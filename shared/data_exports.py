"""Exports of a user's data: a job collects what a service has of the user, and answers with sealed parts.

A handler makes no HTTP call, so it cannot read the key of a user's personal data. It enqueues a job, which reads the
key, then the data as of one moment, and records the parts as events.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa
import structlog
from pydantic import BaseModel, JsonValue
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database import Sessions
from shared.events.exported_data import ExportedData
from shared.events.users import ExportRequested
from shared.ids import new_id
from shared.jobs import Jobs, enqueue
from shared.personal_data import seal
from shared.personal_keys import PersonalKeys, PersonalKeysUnavailable

logger = structlog.get_logger(__name__)

TASK = "export_user_data"
MAX_PART_BYTES = 200_000
"""Upper bound of a part's JSON before it is sealed, which adds a third. The outbox takes events of 512 KiB."""
PARTS_PER_TRANSACTION = 16
"""Parts that are recorded at once. More would make a larger statement."""
PAGE_ROWS = 500
"""Rows that are read at once."""
MAX_TRIES = 5
"""Jobs in a row that may find the users service unreachable. Then the request is dropped: users asks again."""
_EMPTY_PART_BYTES = len('{"facts":{},"lists":{}}')
_MEMBER_BYTES = len('"":[],')
"""Bytes that a member adds beside its name and its values."""

_ONE_MOMENT = sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")

Fact = Callable[[AsyncSession, UUID], Awaitable[BaseModel | None]]
"""Returns one object of a user, or None if there is none."""


@dataclass(frozen=True)
class RowList:
    """A list of a user's rows: the query that selects them by the user's id, and what makes an object of each."""

    query: Callable[[UUID], sa.Select[Any]]
    view: Callable[[Any], BaseModel]


@dataclass(frozen=True)
class Collection:
    """Members of a service's object in the document, in their order: all that it has of a user."""

    facts: Mapping[str, Fact]
    lists: Mapping[str, RowList]


class ExportPart(NamedTuple):
    """A sealed part: the fields of the event that has it."""

    user_id: UUID
    request_id: UUID
    attempt_id: UUID
    part: int
    parts: int
    personal: str


RecordPart = Callable[[AsyncSession, ExportPart], None]
"""Records the service's event of a part."""


class _Job(BaseModel):
    """The payload of a job: the request that it answers, and how many jobs tried it before."""

    user_id: UUID
    request_id: UUID
    tries: int = 0


async def enqueue_export(session: AsyncSession, event: ExportRequested) -> None:
    """Enqueue the job that answers a request. A repeated request is answered again, which does no harm."""
    await _enqueue(session, _Job(user_id=event.user_id, request_id=event.request_id))


def add_export_jobs(jobs: Jobs, *, keys: PersonalKeys, collection: Collection, record_part: RecordPart) -> Jobs:
    """Add the job that a handler enqueues."""

    @jobs.task(TASK)
    async def export_user_data(sessions: Sessions, payload: bytes) -> None:
        job = _Job.model_validate_json(payload)
        about = {"user_id": str(job.user_id), "request_id": str(job.request_id)}
        try:
            key = (await keys.of([job.user_id])).get(job.user_id)
        except PersonalKeysUnavailable:
            await _try_later(sessions, job)
            return
        if key is None:
            logger.info("user_data_not_exported", **about, reason="key_destroyed")
            return
        sealed = await collect_parts(sessions, job.user_id, collection=collection, key=key)
        await _record_parts(sessions, job, sealed, record_part=record_part)
        logger.info("user_data_exported", **about, parts=len(sealed))

    return jobs


async def collect_parts(sessions: Sessions, user_id: UUID, *, collection: Collection, key: bytes) -> list[str]:
    """Return the parts of a user's data as of one moment, each sealed with the user's key."""
    parts = _Parts(lambda part: seal(part, key=key, user_id=user_id))
    async with sessions() as session:
        await session.execute(_ONE_MOMENT)
        for name, fact in collection.facts.items():
            parts.add_fact(name, await fact(session, user_id))
        for name, rows in collection.lists.items():
            parts.begin_list(name)
            async for item in _items(session, rows, user_id):
                parts.add_item(name, item)
    parts.finish()
    return parts.sealed


async def _items(session: AsyncSession, rows: RowList, user_id: UUID) -> AsyncIterator[BaseModel]:
    """Yield the objects of a list, read in pages with a cursor of the database."""
    query = rows.query(user_id).execution_options(yield_per=PAGE_ROWS)
    async for row in await session.stream_scalars(query):
        yield rows.view(row)


@dataclass
class _Parts:
    """Members that are put into parts below the limit; a full part is sealed."""

    seal: Callable[[ExportedData], str]
    sealed: list[str] = field(default_factory=list)
    _facts: dict[str, JsonValue] = field(default_factory=dict)
    _lists: dict[str, list[JsonValue]] = field(default_factory=dict)
    _bytes: int = _EMPTY_PART_BYTES

    def add_fact(self, name: str, value: BaseModel | None) -> None:
        """Add a member with one value."""
        self._make_room(name, _size_of(value) if value else len("null"))
        self._facts[name] = value.model_dump(mode="json") if value else None

    def begin_list(self, name: str) -> None:
        """Add an empty list."""
        self._make_room(name, 0)
        self._lists[name] = []

    def add_item(self, name: str, item: BaseModel) -> None:
        """Add an item to the last list."""
        self._make_room(name, _size_of(item))
        self._lists.setdefault(name, []).append(item.model_dump(mode="json"))

    def finish(self) -> None:
        """Seal what is left."""
        if self._facts or self._lists:
            self.sealed.append(self.seal(ExportedData(facts=self._facts, lists=self._lists)))
        self._facts, self._lists, self._bytes = {}, {}, _EMPTY_PART_BYTES

    def _make_room(self, name: str, value_bytes: int) -> None:
        """Count a value; finish the present part if it would be too large with it."""
        member_bytes = len(name) + _MEMBER_BYTES
        added = value_bytes + 1 + (0 if name in self._lists else member_bytes)
        if self._bytes + added > MAX_PART_BYTES:
            self.finish()
            added = value_bytes + 1 + member_bytes
        self._bytes += added


def _size_of(value: BaseModel) -> int:
    return len(value.model_dump_json().encode())


async def _record_parts(sessions: Sessions, job: _Job, sealed: Sequence[str], *, record_part: RecordPart) -> None:
    """Record all parts as one attempt, in several transactions: an interrupted attempt is never completed."""
    attempt_id, parts = new_id(), len(sealed)
    numbered = [
        ExportPart(job.user_id, job.request_id, attempt_id, number, parts, personal)
        for number, personal in enumerate(sealed, start=1)
    ]
    for start in range(0, parts, PARTS_PER_TRANSACTION):
        async with sessions.begin() as session:
            for part in numbered[start : start + PARTS_PER_TRANSACTION]:
                record_part(session, part)


async def _enqueue(session: AsyncSession, job: _Job) -> None:
    delay = timedelta(seconds=2**job.tries) if job.tries else timedelta(0)
    await enqueue(session, TASK, job.model_dump_json().encode(), delay=delay)


async def _try_later(sessions: Sessions, job: _Job) -> None:
    tries = job.tries + 1
    if tries < MAX_TRIES:
        async with sessions.begin() as session:
            await _enqueue(session, job.model_copy(update={"tries": tries}))

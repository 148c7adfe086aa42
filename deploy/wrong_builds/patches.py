"""Two mistakes that replace the right code in a process of a service: each loses events.

Most programs that consume and publish events make one of them. The services themselves are unmodified.
"""

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer
from sqlalchemy.orm import Session

from deploy.local.control_protocol import WrongBuild
from shared.driver_statements import DriverStatement, fetch_in
from shared.events.topics import source_of
from shared.messaging.consumer.member import Member
from shared.messaging.consumer.worker import Backoff, ConsumerWorker, ServiceUnavailable
from shared.messaging.envelope import Record
from shared.messaging.failpoints import failpoint
from shared.messaging.outbox import outbox
from shared.messaging.outbox.outbox import RecordedEvent, dataschema_of, shard_of
from shared.messaging.outbox.publisher import Publisher
from shared.messaging.outbox.relay import Relay
from shared.messaging.spans import TracedBatch
from shared.messaging.storage.generation import renew_in

logger = structlog.get_logger(__name__)

_ROWS = "orderly_rows_to_send"
"""The key in a session's `info` of the events that its transaction has recorded."""


def acknowledge_before_applying() -> None:
    """Let the consumers commit the offsets of a batch, and apply it afterwards, at most once.

    A process that dies in between, or a database that is away, loses the batch. It is the default of many libraries.
    """

    async def handle(self: Member, consumer: AIOKafkaConsumer, records: Sequence[Record]) -> None:
        self._offsets.add(records)
        await self._offsets.commit(consumer)
        try:
            await self.worker.apply(records)
        except Exception:
            logger.exception("events_lost", consumer=self.worker.name, events=len(records))

    async def give_up(self: ConsumerWorker, backoff: Backoff, error: Exception, traced: TracedBatch) -> None:
        del self, backoff, traced
        raise ServiceUnavailable from error

    Member.handle = handle  # type: ignore[method-assign]
    ConsumerWorker._back_off = give_up  # type: ignore[method-assign]  # noqa: SLF001


def publish_after_commit() -> None:
    """Let the services send events straight to Kafka after the commit, without an outbox.

    A process that dies after the commit loses them: a few milliseconds later it has sent them, or much later if the
    broker is away.
    """
    sender = DirectSender()
    make_relay = Relay.__init__

    def make(self: Relay, *, publisher: Publisher, **options: Any) -> None:
        make_relay(self, publisher=publisher, **options)
        sender.publisher = publisher

    Relay.__init__ = make  # type: ignore[method-assign]
    outbox._recorded._release = _number  # noqa: SLF001
    outbox._recorded._committed = sender.send_of  # noqa: SLF001


class DirectSender:
    """Sends events from memory, in the order of the commits."""

    def __init__(self) -> None:
        self.publisher: Publisher | None = None
        self._rows: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()
        self._sending: asyncio.Task[None] | None = None

    def send_of(self, session: Session) -> None:
        """Send the events of a session's transaction, which has been committed."""
        failpoint("api.committed")
        for row in session.info.pop(_ROWS, []):
            self._rows.put_nowait(row)
        if self._sending is None or self._sending.done():
            self._sending = asyncio.get_running_loop().create_task(self._send())

    async def _send(self) -> None:
        while True:
            rows = [await self._rows.get()]
            with suppress(asyncio.QueueEmpty):
                while True:
                    rows.append(self._rows.get_nowait())
            if self.publisher is None:
                raise RuntimeError("no relay was made in this process")
            numbered: Any = [{**row, "id": number} for number, row in enumerate(rows)]
            sent, failed = await self.publisher.publish(numbered, partitions_of=_all_partitions)
            if failed:
                logger.error("events_lost", events=len(rows) - len(sent), topics=sorted(failed))


async def _all_partitions(_topic: str, existing: int) -> int:
    return existing


def _statement() -> tuple[DriverStatement, Sequence[str]]:
    """Return the outbox's statement without its INSERT, so that it only numbers the events; and its columns."""
    insert = outbox._INSERT  # noqa: SLF001
    found = re.search(r"INSERT INTO outbox \((?P<columns>[^)]*)\)", insert.sql)
    if found is None:
        raise RuntimeError("the outbox's statement has changed")
    statement = DriverStatement("")
    statement.sql = insert.sql.replace(found[0], "").replace("RETURNING true", "")
    statement.names = insert.names
    return statement, [column.strip() for column in found["columns"].split(",")]


_NUMBER, _COLUMNS = _statement()


def _number(session: Session, recorded: list[RecordedEvent]) -> None:
    """Number a transaction's events, and keep them in memory until its commit."""
    session.flush()
    parameters = {
        "source": source_of(session.info["service"]),
        "shards": [shard_of(r.event.topic, r.event.key) for r in recorded],
        "event_ids": [r.event_id for r in recorded],
        "topics": [r.event.topic for r in recorded],
        "keys": [r.event.key for r in recorded],
        "types": [r.event.type for r in recorded],
        "dataschemas": [dataschema_of(r.event.type) for r in recorded],
        "times": [r.occurred_at for r in recorded],
        "traceparents": [r.traceparent for r in recorded],
        "tracestates": [r.tracestate for r in recorded],
        "payloads": [r.event.model_dump_json().encode() for r in recorded],
    }
    while not (rows := fetch_in(session, _NUMBER, parameters)):
        renew_in(session)
    session.info[_ROWS] = [dict(zip(_COLUMNS, row.values(), strict=True)) for row in rows]


PATCHES: Mapping[WrongBuild, Callable[[], None]] = {
    WrongBuild.ACKNOWLEDGE_BEFORE_APPLYING: acknowledge_before_applying,
    WrongBuild.PUBLISH_AFTER_COMMIT: publish_after_commit,
}

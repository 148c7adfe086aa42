"""Collects a campaign's events from its databases: committed, published, applied or dead-lettered, and when.

Times are seconds since the campaign began. Faults set clocks wrong by ten minutes: a time that is wrong by that much is
shown as if its clock had been right.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg

from shared.connection_errors import CONNECTION_ERRORS
from shared.connection_urls import dsn_of
from tests.chaos.history_page.record import CampaignRecord
from tests.chaos.lasting_faults import SHIFT_SECONDS

TIMEOUT_SECONDS = 30.0
MARGIN = timedelta(seconds=1)

_EVENTS = """
    SELECT topic, key, sequence, type, event_id, occurred_at, sent_at,
           convert_from(payload, 'UTF8')::jsonb->>'number' AS number
    FROM (
        SELECT topic, key, sequence, type, event_id, occurred_at, sent_at, payload FROM outbox_sent
        UNION ALL
        SELECT topic, key, sequence, type, event_id, occurred_at, NULL, payload FROM outbox
    ) AS e
    WHERE sent_at IS NULL OR sent_at >= $1
    ORDER BY topic, key, sequence
"""
_APPLIED = "SELECT consumer, event_id, applied_at FROM inbox WHERE applied_at >= $1"
_DEAD_LETTERS = """
    SELECT consumer, topic, key, sequence, type, reason, error, dead_lettered_at, resolution, resolved_at
    FROM dead_letter WHERE dead_lettered_at >= $1 ORDER BY id
"""


@dataclass
class Event:
    """An event, and what became of it."""

    database: str
    topic: str
    key: str
    sequence: int
    type: str
    event_id: UUID
    number: str | None
    """The order number, if it is an event of an order: violations name orders by it."""
    committed: float
    sent: float | None
    applied: dict[str, float] = field(default_factory=dict)
    """The times by consumer."""


@dataclass(frozen=True)
class DeadLetter:
    """An event that could not be applied."""

    consumer: str
    topic: str
    key: str
    sequence: int | None
    type: str | None
    reason: str
    error: str | None
    at: float
    resolution: str | None
    resolved: float | None


@dataclass
class Events:
    """Everything that the databases know of a campaign's events."""

    ended: float
    """The time at which they were collected."""
    events: list[Event] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    unavailable: list[str] = field(default_factory=list)
    """The databases that could not be read, with the error."""


@dataclass(frozen=True)
class Clock:
    """Translates times of the databases and services."""

    began_at: datetime
    ended: float

    def seconds(self, at: datetime) -> float:
        """Return the seconds since the campaign began, by a clock that is right."""
        seconds = (at - self.began_at).total_seconds()
        return min(
            (seconds + shift for shift in (0, SHIFT_SECONDS, -SHIFT_SECONDS)),
            key=lambda one: max(-one, one - self.ended, 0),
        )

    def seconds_if_any(self, at: datetime | None) -> float | None:
        return None if at is None else self.seconds(at)


async def collect(record: CampaignRecord) -> Events:
    """Read the events of every database that is available."""
    found = Events(ended=record.recorder.now())
    clock = Clock(record.recorder.began_at, found.ended)
    margin = timedelta(seconds=2 * SHIFT_SECONDS) if record.has_own_databases else MARGIN
    applied: list[asyncpg.Record] = []
    for name, url in record.databases.items():
        try:
            await _collect(found, name, url, applied, clock=clock, since=record.recorder.began_at - margin)
        except CONNECTION_ERRORS as error:
            found.unavailable.append(f"{name}: {error!r}")
    by_id = {event.event_id: event for event in found.events}
    for consumer, event_id, applied_at in applied:
        if event_id in by_id:
            by_id[event_id].applied[consumer] = clock.seconds(applied_at)
    return found


async def _collect(
    found: Events, name: str, url: str, applied: list[asyncpg.Record], *, clock: Clock, since: datetime
) -> None:
    connection = await asyncpg.connect(dsn_of(url), timeout=TIMEOUT_SECONDS, command_timeout=TIMEOUT_SECONDS)
    try:
        found.events += [
            Event(
                database=name,
                topic=row["topic"],
                key=row["key"],
                sequence=row["sequence"],
                type=row["type"],
                event_id=row["event_id"],
                number=row["number"],
                committed=clock.seconds(row["occurred_at"]),
                sent=clock.seconds_if_any(row["sent_at"]),
            )
            for row in await connection.fetch(_EVENTS, since)
        ]
        applied += await connection.fetch(_APPLIED, since)
        found.dead_letters += [
            DeadLetter(
                **{name: row[name] for name in ("consumer", "topic", "key", "sequence", "type", "reason", "error")},
                at=clock.seconds(row["dead_lettered_at"]),
                resolution=row["resolution"],
                resolved=clock.seconds_if_any(row["resolved_at"]),
            )
            for row in await connection.fetch(_DEAD_LETTERS, since)
        ]
    finally:
        await connection.close()

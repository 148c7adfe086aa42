"""Checks of sent events: each is in its topic, and every consumer that handles it has applied or stored it."""

from collections.abc import Sequence
from datetime import date

import asyncpg

from deploy.audit import commands
from deploy.audit.context import Context, RecordPlace
from deploy.audit.findings import Invariant, Key, Kind, Violation
from deploy.audit.streams import HANDLED_TYPES
from shared.events.topics import consumer_of

_SENT = """
    SELECT o.day, o.id, o.event_id, o.topic, o.key, o.sequence, o.type, o.partition, o."offset", o.sent_at
    FROM unnest($1::date[], $2::bigint[]) AS w (day, id) JOIN outbox_sent o ON o.day = w.day AND o.id = w.id
"""
_APPLIED = """
    SELECT i.event_id FROM unnest($2::uuid[]) AS e (id)
    JOIN inbox i ON i.consumer = $1 AND i.event_id = e.id
        AND i.day = (uuid_extract_timestamp(e.id) AT TIME ZONE 'UTC')::date
"""
# A dead letter that is too old for the inbox is not in it. Its place in the topic leads to it.
_DEAD_LETTERS = """
    SELECT d.event_id FROM unnest($3::int[], $4::bigint[]) AS p (partition, "offset")
    JOIN dead_letter d ON d.consumer = $1 AND d.topic = $2 AND d.partition = p.partition AND d."offset" = p."offset"
"""


def event_key(service: str, day: date, id_: int) -> Key:
    """Return the key of a sent event."""
    return Key(Kind.EVENT, f"{service}/{day}/{id_}")


async def check_events(context: Context, events: Sequence[str]) -> list[Violation]:
    """Check sent events by `service/day/id`. Those that were resent meanwhile have another place, and are left out."""
    by_service: dict[str, list[tuple[date, int]]] = {}
    for event in events:
        service, day, id_ = event.split("/")
        by_service.setdefault(service, []).append((date.fromisoformat(day), int(id_)))
    found: list[Violation] = []
    for service, places in by_service.items():
        days, ids = [day for day, _ in places], [id_ for _, id_ in places]
        rows = await context.databases[service].fetch(_SENT, days, ids)
        found += await _check_topic(context, service, rows)
        found += await _check_consumers(context, service, rows)
    return found


async def _check_topic(context: Context, service: str, rows: Sequence[asyncpg.Record]) -> list[Violation]:
    if context.topics is None:
        return []
    places = [RecordPlace(row["topic"], row["partition"], row["offset"], str(row["event_id"])) for row in rows]
    missing = await context.topics.missing(places)
    return [
        _violation(Invariant.EVENT_IN_TOPIC, service, rows[index], f"is not in the topic: {problem}")
        for index, problem in sorted(missing.items())
    ]


async def _check_consumers(context: Context, service: str, rows: Sequence[asyncpg.Record]) -> list[Violation]:
    found: list[Violation] = []
    for topic, handled in HANDLED_TYPES.items():
        for consuming, types in handled.items():
            consumer = consumer_of(consuming, topic)
            due = {row["event_id"]: row for row in rows if row["topic"] == topic and row["type"] in types}
            if not due:
                continue
            database = context.databases[consuming]
            applied = {row["event_id"] for row in await database.fetch(_APPLIED, consumer, list(due))}
            left = [row for event_id, row in due.items() if event_id not in applied]
            if left:
                partitions, offsets = [row["partition"] for row in left], [row["offset"] for row in left]
                stored = await database.fetch(_DEAD_LETTERS, consumer, topic, partitions, offsets)
                dead = {row["event_id"] for row in stored}
                text = f"was not applied by {consumer} and is no dead letter"
                found += [
                    _violation(Invariant.EVENT_APPLIED, service, row, text, consumer=consumer)
                    for row in left
                    if row["event_id"] not in dead
                ]
    return found


def _violation(invariant: Invariant, service: str, row: asyncpg.Record, text: str, *, consumer: str = "") -> Violation:
    place = f"{row['topic']} {row['key']}, sequence {row['sequence']} ({row['type']}, {row['event_id']})"
    command = commands.resend(service, topic=row["topic"], key=row["key"], since=row["sent_at"])
    key = event_key(service, row["day"], row["id"])
    return Violation(invariant, key, f"{place} {text}", command, row["sent_at"], consumer)

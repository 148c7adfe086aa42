"""Checks of event streams. The only module that compares sequences, and the types that each consumer handles."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import asyncpg

from deploy.audit import commands
from deploy.audit.context import Context
from deploy.audit.databases import SERVICES
from deploy.audit.findings import Invariant, Key, Kind, Violation
from shared.events.topics import TOPICS, consumer_of, topic_named
from shared.messaging.storage.daily_partitions import SENT_RETENTION
from shared.messaging.storage.generation import NUMBER_BITS, generation_of

HANDLED_TYPES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "users": {
        "orders": (
            "user.created",
            "user.credit_refused",
            "user.credit_reserved",
            "user.export_requested",
            "user.erasure_requested",
            "user.purged",
            "user.updated",
        ),
        "notifications": (
            "user.created",
            "user.email_change_requested",
            "user.email_changed",
            "user.email_verification_requested",
            "user.export_ready",
            "user.export_requested",
            "user.erasure_requested",
            "user.password_changed",
            "user.password_reset_requested",
            "user.purged",
            "user.second_factor_changed",
            "user.sign_up_attempted",
            "user.signed_in_from_new_device",
            "user.updated",
        ),
    },
    "orders": {
        "users": (
            "order.cancelled",
            "order.created",
            "order.customer_exported",
            "order.customer_erased",
            "order.refunded",
            "order.rejected",
            "order.shipped",
            "order.snapshot",
        ),
        "notifications": (
            "order.cancelled",
            "order.confirmed",
            "order.delivered",
            "order.refunded",
            "order.rejected",
            "order.shipped",
        ),
    },
    "notifications": {"users": ("notification.recipient_erased", "notification.recipient_exported")},
}
"""The event types that each service handles, by topic. Other types move no position."""

# One statement, so that the stream's last sequence and its events are those of one moment. Sent events are kept for
# some days only: the oldest of a key may be purged, but none after that may be missing within a generation.
_STREAMS = f"""
    SELECT w.topic, w.key, s.sequence AS recorded, s.moved_on, e.*,
           (SELECT max(generation) FROM stream_generation) AS generation
    FROM unnest($1::text[], $2::text[]) AS w (topic, key)
    LEFT JOIN event_stream s USING (topic, key), LATERAL (
        WITH kept AS (
            SELECT type, sequence, occurred_at AS at FROM outbox WHERE topic = w.topic AND key = w.key
            UNION ALL
            SELECT type, sequence, sent_at FROM outbox_sent WHERE topic = w.topic AND key = w.key
        ), by_generation AS (
            SELECT count(*) AS events, min(sequence) AS first, max(sequence) AS last
            FROM kept GROUP BY sequence >> {NUMBER_BITS}
        ), by_type AS (
            SELECT type, max(sequence) AS last, max(at) AS changed_at FROM kept GROUP BY type
        )
        SELECT (SELECT coalesce(sum(events), 0)::bigint FROM by_generation) AS events,
               (SELECT bool_and(events = last - first + 1) FROM by_generation) AS is_unbroken,
               (SELECT max(last) FROM by_type) AS last,
               (SELECT max(changed_at) FROM by_type) AS changed_at,
               (SELECT coalesce(json_object_agg(type, last), '{{}}') FROM by_type) AS last_by_type
    ) AS e
"""  # noqa: S608 - a constant
_POSITIONS = """
    SELECT key, sequence FROM inbox_sequence WHERE consumer = $1 AND topic = $2 AND key = ANY($3::text[])
"""
_EVENT = "SELECT event_id, sent_at FROM outbox_sent WHERE topic = $1 AND key = $2 AND sequence = $3"
_IS_APPLIED = """
    SELECT EXISTS (
        SELECT FROM inbox WHERE consumer = $1 AND event_id = $2
        AND day = (uuid_extract_timestamp($2) AT TIME ZONE 'UTC')::date
    )
"""


def stream_key(topic: str, key: str) -> Key:
    """Return the key of a stream."""
    return Key(Kind.STREAM, f"{topic}/{key}")


async def check_streams(context: Context, streams: Sequence[str]) -> list[Violation]:
    """Check streams by `topic/key`."""
    found: list[Violation] = []
    pairs = [stream.split("/", 1) for stream in streams]
    for service in SERVICES:
        own = [(topic, key) for topic, key in pairs if topic_named(topic).producer == service]
        if own:
            topics, keys = [topic for topic, _ in own], [key for _, key in own]
            rows = await context.databases[service].fetch(_STREAMS, topics, keys)
            found += [violation for row in rows for violation in _gaps(context, service, row)]
            found += await _check_positions(context, rows)
    return found


def _gaps(context: Context, service: str, row: asyncpg.Record) -> Iterator[Violation]:
    topic, key, events = row["topic"], row["key"], row["events"]
    if events:
        is_whole = row["last"] == row["recorded"] and row["is_unbroken"]
        text = f"{events} events up to sequence {row['last']}, but the last sequence is {row['recorded']}"
    else:
        # Days are those of the database; the margin is one day for its clock and one for the purge itself.
        kept_since = context.now.date() - SENT_RETENTION
        is_whole = row["moved_on"] is None or (row["moved_on"] - kept_since).days <= 2
        text = f"no event is stored, but sequence {row['recorded']} was recorded on {row['moved_on']}"
    if not is_whole:
        violation = Violation(Invariant.NO_GAP, stream_key(topic, key), f"{service}: {topic} {key}: {text}", "")
        yield Violation(violation.invariant, violation.key, violation.text, commands.accept(violation.id))


async def _check_positions(context: Context, rows: Sequence[asyncpg.Record]) -> list[Violation]:
    found: list[Violation] = []
    for topic in TOPICS:
        streams = {row["key"]: row for row in rows if row["topic"] == topic.name}
        for service, types in HANDLED_TYPES.get(topic.name, {}).items():
            consumer = consumer_of(service, topic.name)
            positions = await context.databases[service].fetch(_POSITIONS, consumer, topic.name, list(streams))
            reached = {row["key"]: row["sequence"] for row in positions}
            for key, row in streams.items():
                last, position = _last_of(types, row), reached.get(key, 0)
                # A restored producer lacks events that were consumed before: that alone contradicts nothing.
                knows_more = position > (last or 0) and generation_of(position) < row["generation"]
                if last is not None and position != last and not knows_more:
                    found.append(await _not_reached(context, consumer, row, position=position, last=last))
    return found


def _last_of(types: Sequence[str], row: asyncpg.Record) -> int | None:
    """Return the sequence of the last stored event of these types; None without one."""
    last_by_type: dict[str, Any] = json.loads(row["last_by_type"])
    return max((last_by_type[each] for each in types if each in last_by_type), default=None)


async def _not_reached(context: Context, consumer: str, row: asyncpg.Record, *, position: int, last: int) -> Violation:
    """Name the command: an event that was applied needs a position only, any other one is resent."""
    topic, key = row["topic"], row["key"]
    producer, service = topic_named(topic).producer, consumer.partition(".")[0]
    text = f"{consumer} is at sequence {position} of {topic} {key}, but the last one it handles is {last}"
    event = await context.databases[producer].fetchrow(_EVENT, topic, key, last)
    if event is None:
        command = commands.run_role(producer, "relay")
    elif await context.databases[service].fetchval(_IS_APPLIED, consumer, event["event_id"]):
        command = commands.reset_position(service, consumer=consumer, key=key, to=last)
    else:
        command = commands.resend(producer, topic=topic, key=key, since=event["sent_at"])
    return Violation(Invariant.POSITION_REACHED, stream_key(topic, key), text, command, row["changed_at"], consumer)

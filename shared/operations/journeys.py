"""One service's part of an order's journey: its own rows, and what the messaging tables know of the order's keys."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database import Sessions
from shared.error_descriptions import describe_error
from shared.messaging.consumer.subscription import Subscription
from shared.messaging.dead_letters.queries import BLOCKING
from shared.messaging.envelope import day_of
from shared.messaging.outbox.outbox import SHARDS
from shared.messaging.outbox.resend import outbox_status
from shared.operations.events import SENT, WAITING, RecordedEvent
from shared.operations.journey_entries import AnyEntry, EventEntry
from shared.operations.journey_rows import action_entry, dead_letter_entry, event_entry, position_action_entry
from shared.operations.journey_schemas import ConsumerState, JourneyPart, RelayState

MAX_ENTRIES = 200
"""Upper bound of the entries of one service, and of the rows that each of its statements returns."""
MAX_EVENTS_READ = 2_000
"""Upper bound of the sent events of a user that are searched for those about an order."""
KAFKA_TIMEOUT_SECONDS = 2.0

# Events of a user's key are about many orders: those about this one have its id in their data.
_EVENTS = sa.text(f"""
    SELECT k.* FROM unnest(CAST(:topics AS text[]), CAST(:keys AS text[]), CAST(:are_own AS boolean[]))
        AS wanted (topic, key, is_own),
    LATERAL (
        SELECT * FROM (
            SELECT {WAITING} FROM outbox WHERE topic = wanted.topic AND key = wanted.key
            UNION ALL
            (
                SELECT {SENT} FROM outbox_sent
                WHERE key = wanted.key AND topic = wanted.topic AND day >= :first_day LIMIT :max_read
            )
        ) AS e
        WHERE wanted.is_own OR position(CAST(:needle AS bytea) IN e.payload) > 0
    ) AS k
    ORDER BY k.occurred_at, k.id LIMIT :limit
""")  # noqa: S608 - constants
_POSITIONS = sa.text("""
    SELECT consumer, topic, key, sequence, partition, "offset", dead_letters
    FROM unnest(CAST(:consumers AS text[]), CAST(:topics AS text[]), CAST(:keys AS text[])) AS w (consumer, topic, key)
    JOIN inbox_sequence USING (consumer, topic, key)
""")
_DEAD_LETTERS = sa.text(f"""
    SELECT d.* FROM unnest(
        CAST(:consumers AS text[]), CAST(:topics AS text[]), CAST(:keys AS text[]), CAST(:are_own AS boolean[])
    ) AS w (consumer, topic, key, is_own),
    LATERAL (
        SELECT id, consumer, topic, key, partition, "offset", type, sequence, reason, error, next_try_at, resolution,
               resolved_at, event_id, dead_lettered_at, headers->>'traceparent' AS traceparent
        FROM dead_letter
        WHERE consumer = w.consumer AND topic = w.topic AND key = w.key
        AND (w.is_own OR position(CAST(:needle AS bytea) IN payload) > 0 OR id = (
            SELECT min(id) FROM dead_letter
            WHERE consumer = w.consumer AND topic = w.topic AND key = w.key AND {BLOCKING}
        ))
        ORDER BY id LIMIT :limit
    ) AS d
    ORDER BY d.id LIMIT :limit
""")  # noqa: S608 - constants
_ACTIONS = sa.text("""
    SELECT a.dead_letter_id, a.actor, a.action, a.outcome, a.detail, a.acted_at, d.event_id
    FROM dead_letter_action a JOIN dead_letter d ON d.id = a.dead_letter_id
    WHERE a.dead_letter_id = ANY(CAST(:ids AS bigint[])) ORDER BY a.id LIMIT :limit
""")
_POSITION_ACTIONS = sa.text("""
    SELECT a.consumer, a.key, a.actor, a.before, a.after, a.note, a.acted_at
    FROM unnest(CAST(:consumers AS text[]), CAST(:topics AS text[]), CAST(:keys AS text[])) AS w (consumer, topic, key)
    JOIN position_action a USING (consumer, topic, key)
    ORDER BY a.id LIMIT :limit
""")


class Subject(NamedTuple):
    """The order whose journey is asked for, and its user."""

    order_id: UUID
    user_id: UUID

    @property
    def keys(self) -> dict[str, str]:
        """The keys, by topic, whose events may be about the order."""
        return {"orders": str(self.order_id), "users": str(self.user_id)}


class OwnRecords(NamedTuple):
    """The entries that a service's own tables have of an order, and the keys of events that only it knows, by topic."""

    entries: Sequence[AnyEntry] = ()
    event_keys: Sequence[tuple[str, str]] = ()


ReadOwnRecords = Callable[[AsyncSession, Subject], Awaitable[OwnRecords]]


async def no_records(_session: AsyncSession, _subject: Subject) -> OwnRecords:
    """Return nothing: the service has no rows about orders."""
    return OwnRecords()


@dataclass(frozen=True)
class JourneyOperations:
    """Reads one service's part of journeys."""

    service: str
    sessions: Sessions
    subscriptions: Mapping[str, Subscription]
    """The service's handlers, by consumer."""
    read_own_records: ReadOwnRecords
    check_kafka: Callable[[], Awaitable[None]]
    """Raises an error if Kafka does not answer."""
    problem_of: Callable[[str], str | None]
    """Returns what is wrong with a consumer of this process."""

    async def part(self, subject: Subject) -> JourneyPart:
        """Return what the service knows of an order, oldest first."""
        async with self.sessions() as session:
            own = await self.read_own_records(session, subject)
            events = await self._events(session, subject, own.event_keys)
            found = [*own.entries, *events, *await self._dead_letters(session, subject)]
            found += await self._position_actions(session, subject)
            consumers = await self._consumers(session, subject)
            status = await outbox_status(session)
        # After the transaction: Kafka may not answer for a while.
        waits = any(event.details.state == "waiting" for event in events)
        relay = RelayState(
            waiting=status.waiting,
            oldest_age_seconds=None if status.oldest_age is None else status.oldest_age.total_seconds(),
            has_leader=sum(lease.is_held for lease in status.leases) == SHARDS,
            kafka_problem=await self._kafka_problem() if waits else None,
        )
        found.sort(key=lambda entry: entry.time)
        return JourneyPart(
            service=self.service,
            entries=found[:MAX_ENTRIES],
            is_cut=len(found) > MAX_ENTRIES,
            consumers=consumers,
            relay=relay,
        )

    async def _events(
        self, session: AsyncSession, subject: Subject, more: Sequence[tuple[str, str]]
    ) -> list[EventEntry]:
        keys = [*subject.keys.items(), *more]
        parameters = {
            "topics": [topic for topic, _ in keys],
            "keys": [key for _, key in keys],
            "are_own": [topic != "users" for topic, _ in keys],
            "first_day": _first_day(subject.order_id),
            "max_read": MAX_EVENTS_READ,
            **_limits(subject),
        }
        rows = await session.execute(_EVENTS, parameters)
        return [event_entry(self.service, RecordedEvent(*row)) for row in rows]

    async def _dead_letters(self, session: AsyncSession, subject: Subject) -> list[AnyEntry]:
        rows = (await session.execute(_DEAD_LETTERS, {**self._places(subject), **_limits(subject)})).all()
        if not rows:
            return []
        parameters = {"ids": [row.id for row in rows], "limit": MAX_ENTRIES + 1}
        actions = await session.execute(_ACTIONS, parameters)
        return [
            *(dead_letter_entry(self.service, row) for row in rows),
            *(action_entry(self.service, action) for action in actions),
        ]

    async def _position_actions(self, session: AsyncSession, subject: Subject) -> list[AnyEntry]:
        places = self._places(subject)
        places.pop("are_own")
        rows = await session.execute(_POSITION_ACTIONS, {**places, "limit": MAX_ENTRIES + 1})
        return [position_action_entry(self.service, row) for row in rows]

    async def _consumers(self, session: AsyncSession, subject: Subject) -> list[ConsumerState]:
        places = self._places(subject)
        places.pop("are_own")
        positions = {row.consumer: row for row in await session.execute(_POSITIONS, places)}
        states = []
        for consumer, topic, key in zip(places["consumers"], places["topics"], places["keys"], strict=True):
            position = positions.get(consumer)
            states.append(
                ConsumerState(
                    consumer=consumer,
                    topic=topic,
                    key=key,
                    handles=sorted(each.type for each in self.subscriptions[consumer].event_types),
                    sequence=position.sequence if position else None,
                    partition=position.partition if position else None,
                    offset=position.offset if position else None,
                    dead_letters=position.dead_letters if position else 0,
                    problem=self.problem_of(consumer),
                )
            )
        return states

    def _places(self, subject: Subject) -> dict[str, list[Any]]:
        """Return the keys of this service's consumers that matter to the order."""
        keys = subject.keys
        wanted = {name: each.topic for name, each in self.subscriptions.items() if each.topic in keys}
        return {
            "consumers": list(wanted),
            "topics": list(wanted.values()),
            "keys": [keys[topic] for topic in wanted.values()],
            "are_own": [topic != "users" for topic in wanted.values()],
        }

    async def _kafka_problem(self) -> str | None:
        try:
            async with asyncio.timeout(KAFKA_TIMEOUT_SECONDS):
                await self.check_kafka()
        except TimeoutError:
            return "timed out"
        except Exception as error:  # noqa: BLE001 - whatever it is, Kafka cannot be used
            return describe_error(error)
        return None


def _first_day(order_id: UUID) -> date:
    """Return the first day on which events about an order may have been sent. Clocks differ."""
    try:
        return day_of(order_id) - timedelta(days=1)
    except ValueError:
        return datetime.now(UTC).date()  # no order has this id


def _limits(subject: Subject) -> dict[str, Any]:
    return {"needle": str(subject.order_id).encode(), "limit": MAX_ENTRIES + 1}

"""The state of the outbox for operators, and resending: sent events are published again after a broker lost data.

A resent event keeps its id, its sequence and its order. A consumer that has applied it recognises a duplicate, and a
consumer that never received it applies it, unless it has seen a later event of the key: then it becomes a dead letter.
"""

import time
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from shared.messaging.outbox.outbox import SHARDS
from shared.messaging.storage.daily_partitions import SENT_RETENTION

PAGE_ROWS = 1_000
"""Upper bound of events that one transaction moves back into the outbox."""
SCAN_IDS = 10_000
"""Upper bound of stored events that one statement reads to find a page's events. Raised, a statement takes longer;
lowered, a selection of few events among many takes more statements."""
MAX_COUNTED = 100_000
"""Upper bound of waiting events that the status counts. If Kafka was away for long, millions may wait."""

_STATUS = sa.text("""
    SELECT
        (SELECT count(*) FROM (SELECT FROM outbox LIMIT :max_counted) AS counted) AS waiting,
        (
            -- The lowest id of each shard: of the events that wait, these were recorded first.
            SELECT clock_timestamp() - min(first.occurred_at)
            FROM generate_series(0, :shards - 1) AS s, LATERAL (
                SELECT occurred_at FROM outbox WHERE shard = s ORDER BY id LIMIT 1
            ) AS first
        ) AS oldest_age,
        (
            -- Counting a week of events takes long; the server's statistics are close enough.
            SELECT coalesce(sum(greatest(c.reltuples, s.n_live_tup, 0)), 0)::bigint
            FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_stat_user_tables s ON s.relid = c.oid
            WHERE i.inhparent = 'outbox_sent'::regclass
        ) AS sent_kept
""")
_LEASES = sa.text("""
    SELECT shard, owner, epoch, expires_at, expires_at > clock_timestamp() AS is_held FROM relay_lease ORDER BY shard
""")

# A page reads the stored events of SCAN_IDS ids in a row, from the next id that is stored, and ends after PAGE_ROWS
# selected ones. It goes by ids, which have the order of the commits, and through all days at once: an event that was
# resent before is stored under a later day than its successors.
_LAST_ID = sa.text("""
    SELECT clock_timestamp() AS until, max(l.id) AS last_id FROM unnest(CAST(:days AS date[])) AS d (day), LATERAL (
        SELECT o.id FROM outbox_sent o WHERE o.day = d.day ORDER BY o.id DESC LIMIT 1
    ) AS l
""")
_PAGE_END = sa.text("""
    WITH first AS MATERIALIZED (
        SELECT min(f.id) AS id FROM unnest(CAST(:days AS date[])) AS d (day), LATERAL (
            SELECT o.id FROM outbox_sent o WHERE o.day = d.day AND o.id > :after_id ORDER BY o.id LIMIT 1
        ) AS f
    ), selected AS (
        SELECT o.id FROM outbox_sent o
        WHERE o.day = ANY(CAST(:days AS date[]))
        AND o.id >= (SELECT id FROM first) AND o.id < (SELECT id FROM first) + :scan
        AND sent_at >= :since AND sent_at < :until
        AND (CAST(:topic AS text) IS NULL OR topic = :topic) AND (CAST(:key AS text) IS NULL OR key = :key)
        ORDER BY o.id LIMIT :page
    )
    SELECT (SELECT id FROM first) AS first_id, count(*) AS selected, max(id) AS last_selected FROM selected
""")

# The rows keep their ids, so the relay publishes them before everything that was recorded later, as the first time. The
# new number of resends tells it to begin its query at the lowest id.
_RESEND = sa.text("""
    WITH announced AS (
        INSERT INTO outbox_resend (shard, resends) SELECT s, 1 FROM generate_series(0, :shards - 1) AS s
        ON CONFLICT (shard) DO UPDATE SET resends = outbox_resend.resends + 1
    ), resent AS (
        DELETE FROM outbox_sent
        WHERE day >= :first_day AND day <= :last_day AND id > :after_id AND id <= :last_id
        AND sent_at >= :since AND sent_at < :until
        AND (CAST(:topic AS text) IS NULL OR topic = :topic) AND (CAST(:key AS text) IS NULL OR key = :key)
        RETURNING *
    ), returned AS (
        INSERT INTO outbox (
            id, shard, event_id, topic, key, sequence, type, source, dataschema, occurred_at, traceparent, tracestate,
            payload
        )
        OVERRIDING SYSTEM VALUE
        SELECT id, shard, event_id, topic, key, sequence, type, source, dataschema, occurred_at, traceparent,
               tracestate, payload
        FROM resent ORDER BY id
        ON CONFLICT DO NOTHING
    )
    SELECT count(*) FROM resent
""")


@dataclass(frozen=True)
class RelayLease:
    """A shard's lease: which relay leads the shard, or led it last."""

    shard: int
    owner: str
    epoch: int
    expires_at: datetime
    is_held: bool


@dataclass(frozen=True)
class OutboxStatus:
    """The number of waiting events (at most MAX_COUNTED), of kept sent events (an estimate), and the relays' leases."""

    waiting: int
    oldest_age: timedelta | None
    sent_kept: int
    leases: list[RelayLease]


@dataclass(frozen=True)
class ResendPlan:
    """A selection of sent events: those sent from `since` until before `until`, oldest first, at most `limit`.

    `last_id` is the highest id that was stored then, 0 if none was.
    """

    since: datetime
    until: datetime
    last_id: int
    topic: str | None = None
    key: str | None = None
    limit: int | None = None

    def as_parameters(self) -> dict[str, Any]:
        """Return the plan as values that JSON can hold."""
        return {**asdict(self), "since": self.since.isoformat(), "until": self.until.isoformat()}

    @classmethod
    def from_parameters(cls, parameters: dict[str, Any]) -> "ResendPlan":
        """Return the plan that `as_parameters` was called on."""
        times = {name: datetime.fromisoformat(parameters[name]) for name in ("since", "until")}
        return cls(**{**parameters, **times})

    @property
    def days(self) -> list[date]:
        """The days of which events may be stored."""
        return _stored_days(self.since, self.until)


@dataclass(frozen=True)
class PageEnd:
    """The end of a page: the number of its events, and the id up to which its events were read."""

    events: int
    last_id: int
    is_last: bool


async def outbox_status(session: AsyncSession) -> OutboxStatus:
    """Return the state of the outbox, with the leases of all shards."""
    row = (await session.execute(_STATUS, {"max_counted": MAX_COUNTED, "shards": SHARDS})).one()
    leases = [RelayLease(*lease) for lease in await session.execute(_LEASES)]
    return OutboxStatus(waiting=row.waiting, oldest_age=row.oldest_age, sent_kept=row.sent_kept, leases=leases)


async def plan_resend(
    session: AsyncSession,
    *,
    since: datetime,
    topic: str | None = None,
    key: str | None = None,
    limit: int | None = None,
) -> ResendPlan:
    """Plan to resend what was sent from `since` until now, oldest first, at most `limit` events. Reads none of them."""
    # The database's clock, by which events are stored, may be past midnight already.
    days = _stored_days(since, datetime.now(UTC) + timedelta(days=1))
    row = (await session.execute(_LAST_ID, {"days": days})).one()
    last_id = row.last_id or 0 if since < row.until else 0
    return ResendPlan(since=since, until=row.until, last_id=last_id, topic=topic, key=key, limit=limit)


async def next_page(
    session: AsyncSession, plan: ResendPlan, *, after_id: int, done: int = 0, page_rows: int = PAGE_ROWS
) -> PageEnd:
    """Find the end of the page that begins after an id; `done` is the number of events on earlier pages."""
    page = page_rows if plan.limit is None else min(page_rows, plan.limit - done)
    parameters = {**_selection(plan), "days": plan.days, "after_id": after_id, "scan": SCAN_IDS, "page": page}
    row = (await session.execute(_PAGE_END, parameters)).one()
    if row.first_id is None:
        return PageEnd(0, after_id, is_last=True)
    last_id = row.last_selected if row.selected == page else row.first_id + SCAN_IDS - 1
    is_last = last_id >= plan.last_id or done + row.selected == plan.limit
    return PageEnd(events=row.selected, last_id=last_id, is_last=is_last)


async def resend_page(session: AsyncSession, plan: ResendPlan, *, after_id: int, last_id: int) -> int:
    """Move the plan's events between two ids back into the outbox; return their number, 0 if they were moved before."""
    parameters = {
        **_selection(plan),
        "after_id": after_id,
        "last_id": last_id,
        "first_day": plan.days[0],
        "last_day": plan.days[-1],
        "shards": SHARDS,
    }
    moved: int = await session.scalar(_RESEND, parameters)
    return moved


async def count_events(session: AsyncSession, plan: ResendPlan, *, deadline: float | None = None) -> tuple[int, bool]:
    """Count the plan's events, in pages; return the number, and whether all were counted before the `deadline`.

    The deadline is one of the monotonic clock.
    """
    end = PageEnd(0, 0, is_last=plan.last_id == 0)
    events = 0
    while not end.is_last:
        if deadline is not None and time.monotonic() >= deadline:
            return events, False
        end = await next_page(session, plan, after_id=end.last_id, done=events, page_rows=SCAN_IDS)
        events += end.events
    return events, True


def _selection(plan: ResendPlan) -> dict[str, Any]:
    return {"since": plan.since, "until": plan.until, "topic": plan.topic, "key": plan.key}


def _stored_days(since: datetime, until: datetime) -> list[date]:
    """Return the days from one time to another that may have a daily partition."""
    last = until.astimezone(UTC).date()
    first = max(since.astimezone(UTC).date(), last - SENT_RETENTION - timedelta(days=2))
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]

"""The outbox as operators see it, and sending again what was sent: with the same ids and sequences, in the same order.

For a broker that has lost data. Consumers that have applied an event know it again; those that never got it apply it.
"""

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

PAGE_ROWS = 1000

_STATUS = sa.text("""
    SELECT
        (SELECT count(*) FROM outbox) AS waiting,
        (SELECT clock_timestamp() - min(occurred_at) FROM outbox) AS oldest_age,
        (
            -- Counting a week of events would take long; the server's own figures are close.
            SELECT coalesce(sum(greatest(c.reltuples, s.n_live_tup, 0)), 0)::bigint
            FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_stat_user_tables s ON s.relid = c.oid
            WHERE i.inhparent = 'outbox_sent'::regclass
        ) AS sent_kept
""")
_LEASES = sa.text("""
    SELECT shard, owner, epoch, expires_at, expires_at > clock_timestamp() AS is_held FROM relay_lease ORDER BY shard
""")

_MEANT = """
    day >= (CAST(:since AS timestamptz) AT TIME ZONE 'UTC')::date AND sent_at >= :since AND sent_at < :until
    AND (CAST(:topic AS text) IS NULL OR topic = :topic) AND (CAST(:key AS text) IS NULL OR key = :key)
"""
# By id, which is the order of the commits: what was sent again before lies in a later day than its successors.
_PLAN = sa.text(f"""
    SELECT id, n FROM (
        SELECT id, row_number() OVER (ORDER BY id) AS n, count(*) OVER () AS total
        FROM (SELECT id FROM outbox_sent WHERE {_MEANT} ORDER BY id LIMIT :limit) AS meant
    ) AS numbered
    WHERE n % :page = 0 OR n = total ORDER BY n
""")  # noqa: S608 - the parts are constants of this module

# With their old ids the rows come before everything that is recorded later, as they did the first time.
_PAGE = sa.text(f"""
    WITH gone AS (
        DELETE FROM outbox_sent WHERE id > :after_id AND id <= :last_id AND {_MEANT} RETURNING *
    ), back AS (
        INSERT INTO outbox (
            id, shard, event_id, topic, key, sequence, type, source, dataschema, occurred_at, traceparent, tracestate,
            payload
        )
        OVERRIDING SYSTEM VALUE
        SELECT id, shard, event_id, topic, key, sequence, type, source, dataschema, occurred_at, traceparent,
               tracestate, payload
        FROM gone ORDER BY id
        ON CONFLICT DO NOTHING
    )
    SELECT count(*) FROM gone
""")  # noqa: S608 - as above


@dataclass(frozen=True)
class RelayLease:
    """Who sends a shard, or did last."""

    shard: int
    owner: str
    epoch: int
    expires_at: datetime
    is_held: bool


@dataclass(frozen=True)
class OutboxStatus:
    """What waits, what was sent, and who sends. `sent_kept` is the server's estimate."""

    waiting: int
    oldest_age: timedelta | None
    sent_kept: int
    leases: list[RelayLease]


@dataclass(frozen=True)
class ResendPlan:
    """Which sent events are meant: `last_ids` closes each page; `events` counts them all."""

    since: datetime
    until: datetime
    topic: str | None
    key: str | None
    last_ids: list[int]
    events: int

    def as_parameters(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {**asdict(self), "since": self.since.isoformat(), "until": self.until.isoformat()}

    @classmethod
    def from_parameters(cls, parameters: dict[str, Any]) -> "ResendPlan":
        """What `as_parameters` made."""
        times = {name: datetime.fromisoformat(parameters[name]) for name in ("since", "until")}
        return cls(**{**parameters, **times})


async def outbox_status(session: AsyncSession) -> OutboxStatus:
    """Of all shards."""
    row = (await session.execute(_STATUS)).one()
    leases = [RelayLease(*lease) for lease in await session.execute(_LEASES)]
    return OutboxStatus(waiting=row.waiting, oldest_age=row.oldest_age, sent_kept=row.sent_kept, leases=leases)


async def plan_resend(
    session: AsyncSession,
    *,
    since: datetime,
    topic: str | None = None,
    key: str | None = None,
    limit: int | None = None,
    page_rows: int = PAGE_ROWS,
) -> ResendPlan:
    """Find what was sent since then, the oldest `limit` of it; nothing changes."""
    until: datetime = (await session.execute(sa.select(sa.func.clock_timestamp()))).scalar_one()
    rows = await session.execute(
        _PLAN, {"since": since, "until": until, "topic": topic, "key": key, "limit": limit, "page": page_rows}
    )
    ends = rows.all()
    return ResendPlan(
        since=since,
        until=until,
        topic=topic,
        key=key,
        last_ids=[end.id for end in ends],
        events=ends[-1].n if ends else 0,
    )


async def resend_page(session: AsyncSession, plan: ResendPlan, *, page: int) -> int:
    """Put one page of the plan back into the outbox; how many events it had. Repeating it finds none."""
    meant = {"since": plan.since, "until": plan.until, "topic": plan.topic, "key": plan.key}
    after_id = plan.last_ids[page - 1] if page else 0
    moved: int = await session.scalar(_PAGE, {**meant, "after_id": after_id, "last_id": plan.last_ids[page]})
    return moved

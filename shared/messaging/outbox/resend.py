"""The state of the outbox for operators, and resending: sent events are published again after a broker lost data.

A resent event keeps its id, its sequence and its order. A consumer that has applied it recognises a duplicate, and a
consumer that never received it applies it, unless it has seen a later event of the key: then it becomes a dead letter.
"""

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from shared.messaging.outbox.outbox import SHARDS

PAGE_ROWS = 1000
"""Upper bound of events that one transaction moves back into the outbox."""

_STATUS = sa.text("""
    SELECT
        (SELECT count(*) FROM outbox) AS waiting,
        (SELECT clock_timestamp() - min(occurred_at) FROM outbox) AS oldest_age,
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

_SELECTED = """
    day >= (CAST(:since AS timestamptz) AT TIME ZONE 'UTC')::date AND sent_at >= :since AND sent_at < :until
    AND (CAST(:topic AS text) IS NULL OR topic = :topic) AND (CAST(:key AS text) IS NULL OR key = :key)
"""
# Ordered by id, which is the commit order. An event that was resent before is stored under a later day than its
# successors.
_PLAN = sa.text(f"""
    SELECT id, n FROM (
        SELECT id, row_number() OVER (ORDER BY id) AS n, count(*) OVER () AS total
        FROM (SELECT id FROM outbox_sent WHERE {_SELECTED} ORDER BY id LIMIT :limit) AS selected
    ) AS numbered
    WHERE n % :page = 0 OR n = total ORDER BY n
""")  # noqa: S608 - the parts are constants of this module

# The rows keep their ids, so the relay publishes them before everything that was recorded later, as the first time. The
# new generation tells it to begin its query at the lowest id.
_PAGE = sa.text(f"""
    WITH announced AS (
        INSERT INTO outbox_resend (shard, generation) SELECT s, 1 FROM generate_series(0, :shards - 1) AS s
        ON CONFLICT (shard) DO UPDATE SET generation = outbox_resend.generation + 1
    ), resent AS (
        DELETE FROM outbox_sent WHERE id > :after_id AND id <= :last_id AND {_SELECTED} RETURNING *
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
""")  # noqa: S608 - as above


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
    """The number of waiting events, of kept sent events (an estimate), and the relays' leases."""

    waiting: int
    oldest_age: timedelta | None
    sent_kept: int
    leases: list[RelayLease]


@dataclass(frozen=True)
class ResendPlan:
    """A selection of sent events. `last_ids` holds the last id of each page, `events` the number of all events."""

    since: datetime
    until: datetime
    topic: str | None
    key: str | None
    last_ids: list[int]
    events: int

    def as_parameters(self) -> dict[str, Any]:
        """Return the plan as values that JSON can hold."""
        return {**asdict(self), "since": self.since.isoformat(), "until": self.until.isoformat()}

    @classmethod
    def from_parameters(cls, parameters: dict[str, Any]) -> "ResendPlan":
        """Return the plan that `as_parameters` was called on."""
        times = {name: datetime.fromisoformat(parameters[name]) for name in ("since", "until")}
        return cls(**{**parameters, **times})


async def outbox_status(session: AsyncSession) -> OutboxStatus:
    """Return the state of the outbox, with the leases of all shards."""
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
    """Plan to resend what was sent at or after `since`, oldest first, at most `limit` events. Changes nothing."""
    until: datetime = (await session.execute(sa.select(sa.func.clock_timestamp()))).scalar_one()
    rows = await session.execute(
        _PLAN, {"since": since, "until": until, "topic": topic, "key": key, "limit": limit, "page": page_rows}
    )
    page_ends = rows.all()
    return ResendPlan(
        since=since,
        until=until,
        topic=topic,
        key=key,
        last_ids=[end.id for end in page_ends],
        events=page_ends[-1].n if page_ends else 0,
    )


async def resend_page(session: AsyncSession, plan: ResendPlan, *, page: int) -> int:
    """Move one page of the plan back into the outbox; return its number of events, 0 if it was moved before."""
    selection = {"since": plan.since, "until": plan.until, "topic": plan.topic, "key": plan.key}
    after_id = plan.last_ids[page - 1] if page else 0
    moved: int = await session.scalar(
        _PAGE, {**selection, "after_id": after_id, "last_id": plan.last_ids[page], "shards": SHARDS}
    )
    return moved

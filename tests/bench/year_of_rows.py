"""Rows of one simulated day, for every table that grows with the events."""

from datetime import UTC, date, datetime, time, timedelta

import asyncpg

USERS = 20_000
"""Users with events all year; each simulated order is a key of its own, which nobody uses again."""
EVENTS_PER_ORDER = 3
CONSUMER = "notifications.orders"
MIN_ROWS = 10
"""Rows of a day in tables that grow by operators' actions and by failures. Fewer would hide a purge that does nothing
behind the tolerance of the judgement."""

# `$1` is the day, `$2` the number of the day's events. `sequence` continues as the outbox numbers events.
_STREAMS = """
    WITH recorded AS (
        SELECT 'orders' AS topic, uuidv7($1::date + interval '12 hours' - now())::text AS key, {per_order} AS events
        FROM generate_series(1, $2::int / {per_order})
        UNION ALL
        SELECT 'users', 'user-' || u, count(*)
        FROM (SELECT floor(random() * {users})::int AS u FROM generate_series(1, $2::int / 10)) AS drawn GROUP BY u
    )
    INSERT INTO event_stream (topic, key, sequence, moved_on)
    SELECT r.topic, r.key, coalesce(f.sequence, 0) + r.events, $1
    FROM recorded r LEFT JOIN event_stream_floor f USING (topic)
    ON CONFLICT (topic, key) DO UPDATE SET sequence = event_stream.sequence + 1, moved_on = excluded.moved_on
"""
_POSITIONS = f"""
    INSERT INTO inbox_sequence (consumer, topic, key, sequence, moved_on)
    SELECT '{CONSUMER}', topic, key, sequence, moved_on FROM event_stream WHERE moved_on = $1
    ON CONFLICT (consumer, topic, key) DO UPDATE SET sequence = excluded.sequence, moved_on = excluded.moved_on
"""  # noqa: S608 - constants
_SENT = """
    INSERT INTO outbox_sent (
        day, id, event_id, topic, key, sequence, type, source, dataschema, occurred_at, payload, shard, partition,
        "offset", sent_at
    )
    SELECT $1, nextval(pg_get_serial_sequence('outbox', 'id')), uuidv7($1::date + interval '12 hours' - now()),
           topic, key, n, 'order.confirmed', 'urn:orderly:orders', 'urn:orderly:event:order.confirmed',
           $1::date + interval '12 hours', convert_to(repeat('{"filled":true}', 20), 'UTF8'), 0, 0, 0,
           $1::date + interval '12 hours'
    FROM event_stream, generate_series(1, $2) AS n WHERE moved_on = $1 AND topic = 'orders'
"""
_INBOX = f"""
    INSERT INTO inbox (consumer, day, event_id)
    SELECT '{CONSUMER}', $1, event_id FROM outbox_sent WHERE day = $1
"""  # noqa: S608 - constants
_NOTIFICATIONS = """
    WITH stored AS (
        INSERT INTO notification (id, user_id, event_id, event_type, category, title, data, created_at)
        SELECT uuidv7($1::date + interval '12 hours' - now()), gen_random_uuid(), event_id, type, 'orders',
               'Order O-1042 is confirmed', '{"number": "O-1042", "total_cents": 5200}', occurred_at
        FROM outbox_sent WHERE day = $1 AND sequence = 1
        RETURNING id, created_at
    )
    INSERT INTO delivery (id, notification_id, channel, status, attempts, sent_at)
    SELECT uuidv7(created_at - now()), id, channel, 'sent', 1, created_at
    FROM stored, unnest(ARRAY['in_app', 'email']) AS c (channel)
"""
# One event of a thousand, or MIN_ROWS: every second one is resolved on the same day, the others never.
_DEAD_LETTERS = f"""
    WITH stored AS (
        INSERT INTO dead_letter (
            consumer, topic, partition, "offset", key, event_id, type, sequence, headers, payload, reason,
            dead_lettered_at, resolution, resolved_at
        )
        SELECT '{CONSUMER}', 'orders', 0, id, key, event_id, type, sequence, '{{}}', payload, 'rule_violated', sent_at,
               CASE WHEN id % 2 > 0 THEN 'discarded' END, CASE WHEN id % 2 > 0 THEN sent_at END
        FROM outbox_sent WHERE day = $1 AND sequence = 1 ORDER BY id LIMIT greatest({MIN_ROWS}, $2::int / 1000)
        RETURNING id, key, resolution, dead_lettered_at
    ), blocked AS (
        UPDATE inbox_sequence i SET dead_letters = 1 FROM stored s
        WHERE s.resolution IS NULL AND i.consumer = '{CONSUMER}' AND i.topic = 'orders' AND i.key = s.key
    )
    INSERT INTO dead_letter_action (dead_letter_id, actor, action, outcome, acted_at)
    SELECT id, 'simulated', 'discard', 'done', dead_lettered_at FROM stored WHERE resolution IS NOT NULL
"""  # noqa: S608 - constants
_IDEMPOTENCY_KEYS = """
    INSERT INTO idempotency_key (caller, route, key_hash, fingerprint, status, headers, body, created_at)
    SELECT gen_random_uuid(), 'POST /v1/orders', sha256(convert_to(key, 'UTF8')), sha256(''), 201,
           '{"content-type": "application/json"}', convert_to(repeat('{"filled":true}', 30), 'UTF8'),
           moved_on + interval '12 hours'
    FROM event_stream WHERE moved_on = $1 AND topic = 'orders'
"""
_JOB_LOG = """
    INSERT INTO pgqueuer_log (created, job_id, status, priority, entrypoint, aggregated)
    SELECT $1::date + interval '12 hours', n, 'successful', 0, 'operation', true
    FROM generate_series(1, $2::int / 10) AS n
"""
_JOB_STATISTICS = """
    INSERT INTO pgqueuer_statistics (created, count, priority, status, entrypoint)
    SELECT $1::date + n * interval '1 second', 3, 0, 'successful', 'operation'
    FROM generate_series(1, least(86399, $2::int / 10)) AS n
"""
_HELD_JOBS = f"""
    INSERT INTO pgqueuer (priority, status, entrypoint, payload, created, updated)
    SELECT 0, 'failed', 'operation', '', $1::date, $1::date FROM generate_series(1, {MIN_ROWS})
"""  # noqa: S608 - constants
_OPERATIONS = f"""
    INSERT INTO operation (id, kind, actor, parameters, status, total, done, started_at, moved_at)
    SELECT gen_random_uuid(), 'resend', 'simulated', '{{}}', 'done', 1000, 1000, $1::date, $1::date
    FROM generate_series(1, {MIN_ROWS})
"""  # noqa: S608 - constants
_POSITION_ACTIONS = f"""
    INSERT INTO position_action (consumer, topic, key, actor, before, after, note, acted_at)
    SELECT consumer, topic, key, 'simulated', sequence - 1, sequence, 'forged', $1::date
    FROM inbox_sequence WHERE moved_on = $1 LIMIT {MIN_ROWS}
"""  # noqa: S608 - constants
_JOB_ACTIONS = f"""
    INSERT INTO job_action (job_id, entrypoint, actor, action, note, acted_at)
    SELECT n, 'operation', 'simulated', 'retry', 'corrected', $1::date FROM generate_series(1, {MIN_ROWS}) AS n
"""  # noqa: S608 - constants
# What retention resolves today, it resolves on the simulated day.
_BACK_DATE = "UPDATE dead_letter SET resolved_at = $1 WHERE resolution = 'expired' AND resolved_at > $1"


def noon(day: date) -> datetime:
    """Return the middle of a UTC day, at which its rows are made."""
    return datetime.combine(day, time(12), UTC)


async def add_day(connection: "asyncpg.Connection[asyncpg.Record]", day: date, *, events: int) -> int:
    """Insert the rows that a day with so many events leaves in the tables; return how many there are at least."""
    statements: tuple[tuple[str, tuple[object, ...]], ...] = (
        (_STREAMS.format(per_order=EVENTS_PER_ORDER, users=USERS), (day, events)),
        (_POSITIONS, (day,)),
        (_SENT, (day, EVENTS_PER_ORDER)),
        (_INBOX, (day,)),
        (_NOTIFICATIONS, (day,)),
        (_DEAD_LETTERS, (day, events)),
        (_IDEMPOTENCY_KEYS, (day,)),
        (_JOB_LOG, (day, events)),
        (_JOB_STATISTICS, (day, events)),
        (_HELD_JOBS, (day,)),
        (_OPERATIONS, (day,)),
        (_POSITION_ACTIONS, (day,)),
        (_JOB_ACTIONS, (day,)),
    )
    # The status is `INSERT 0` and the number of rows, without those of common table expressions.
    return sum([int((await connection.execute(sql, *given)).split()[-1]) for sql, given in statements])


async def back_date_expiry(connection: "asyncpg.Connection[asyncpg.Record]", day: date) -> None:
    """Let what expired just now have expired on that day."""
    await connection.execute(_BACK_DATE, noon(day) + timedelta(hours=1))

"""Rows for the tables that every service has, as if from months of events, dead letters and jobs."""

from collections.abc import Mapping

import asyncpg

from shared.connection_urls import dsn_of

# `$1` is the number of rows, `n` counts them from the oldest; each id is as old as its row.
MESSAGING_FILLS = {
    # Row ids come from the outbox's sequence, so later events continue after them.
    "outbox_sent": """
        INSERT INTO outbox_sent (
            day, id, event_id, topic, key, sequence, type, source, dataschema, occurred_at, traceparent, payload,
            shard, partition, "offset", sent_at
        )
        SELECT (at AT TIME ZONE 'UTC')::date, nextval(pg_get_serial_sequence('outbox', 'id')), uuidv7(at - now()),
               topic, uuidv7(at - now() - interval '1 day')::text, 1, type, 'urn:orderly:filled',
               'urn:orderly:event:' || type, at, '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
               convert_to(repeat('{"filled":true}', 20), 'UTF8'), 0, n % 3, n / 3, at + interval '5 ms'
        FROM (
            SELECT n, now() - interval '7 days' * (1 - n::float8 / $1) AS at,
                   CASE n % 2 WHEN 0 THEN 'orders' ELSE 'users' END AS topic,
                   CASE n % 2 WHEN 0 THEN 'order.created' ELSE 'user.updated' END AS type
            FROM generate_series(1, $1::bigint) AS n
        ) AS past
    """,
    "event_stream": """
        INSERT INTO event_stream (topic, key, sequence, moved_on) SELECT topic, key, sequence, day FROM outbox_sent
        ON CONFLICT DO NOTHING
    """,
    "inbox": """
        INSERT INTO inbox (consumer, day, event_id)
        SELECT consumer, (uuid_extract_timestamp(event_id) AT TIME ZONE 'UTC')::date, event_id
        FROM (
            SELECT (ARRAY['notifications.orders', 'notifications.users', 'orders.users', 'users.orders'])[1 + n % 4]
                   AS consumer,
                   uuidv7(interval '-21 days' * (1 - n::float8 / $1)) AS event_id
            FROM generate_series(1, $1::bigint) AS n
        ) AS past
    """,
    "inbox_sequence": """
        INSERT INTO inbox_sequence (consumer, topic, key, sequence, moved_on)
        SELECT 'notifications.' || topic, topic, key, sequence, moved_on FROM event_stream
    """,
    # Offsets that no topic reaches: a record that is a dead letter already would not be stored again.
    "dead_letter": """
        INSERT INTO dead_letter (
            consumer, topic, partition, "offset", key, event_id, type, sequence, headers, payload, reason, error,
            dead_lettered_at, resolution, resolved_at
        )
        SELECT 'notifications.orders', 'orders', n % 3, 1000000000000 + n / 3, uuidv7(at - now())::text,
               uuidv7(at - now()), 'order.confirmed', 2, '{"ce_type": "order.confirmed", "ce_sequence": "2"}',
               convert_to(repeat('{"filled":true}', 20), 'UTF8'), 'rule_violated', 'filled', at,
               CASE n % 2 WHEN 0 THEN 'replayed' ELSE 'discarded' END, at + interval '1 hour'
        FROM (
            SELECT n, now() - interval '365 days' * (1 - n::float8 / $1) AS at FROM generate_series(1, $1::bigint) AS n
        ) AS past
    """,
    "dead_letter_action": """
        INSERT INTO dead_letter_action (dead_letter_id, actor, action, outcome, acted_at)
        SELECT id, 'filled', CASE resolution WHEN 'replayed' THEN 'replay' ELSE 'discard' END, 'done', resolved_at
        FROM dead_letter WHERE resolution IS NOT NULL ORDER BY id LIMIT $1
    """,
    "operation": """
        INSERT INTO operation (id, kind, actor, parameters, status, total, done, started_at, moved_at)
        SELECT
            uuidv7(at - now()), 'republication', 'filled', '{"types": ["users"], "since": null}', 'done', 1000, 1000,
            at, at + interval '1 minute'
        FROM (
            SELECT now() - interval '365 days' * (1 - n::float8 / $1) AS at FROM generate_series(1, $1::bigint) AS n
        ) AS past
    """,
    # Younger than 90 days, as after a purge.
    "position_action": """
        INSERT INTO position_action (consumer, topic, key, actor, before, after, note, acted_at)
        SELECT consumer, topic, key, 'filled', sequence, 0, 'filled', now() - interval '80 days' * random()
        FROM inbox_sequence LIMIT $1
    """,
    "job_action": """
        INSERT INTO job_action (job_id, entrypoint, actor, action, note, acted_at)
        SELECT n, 'operation', 'filled', 'retry', 'filled', now() - interval '80 days' * (1 - n::float8 / $1)
        FROM generate_series(1, $1::bigint) AS n
    """,
    # Younger than a day: the purge deletes older ones.
    "idempotency_key": """
        INSERT INTO idempotency_key (caller, route, key_hash, fingerprint, status, headers, body, created_at)
        SELECT uuidv7(interval '-90 days' * random()), 'POST /v1/orders', sha256(int8send(n)), sha256(int8send(-n)),
               201, '{"content-type": "application/json", "location": "/v1/orders/filled"}',
               convert_to(repeat('{"filled":true}', 30), 'UTF8'), now() - interval '20 hours' * (1 - n::float8 / $1)
        FROM generate_series(1, $1::bigint) AS n
    """,
    # The job queue's log of each job, and its sums by the second: younger than a week, as after a purge.
    "pgqueuer_log": """
        INSERT INTO pgqueuer_log (created, job_id, status, priority, entrypoint, aggregated)
        SELECT now() - interval '6 days' * (1 - n::float8 / $1), nextval(pg_get_serial_sequence('pgqueuer', 'id')),
               (ARRAY['queued', 'picked', 'successful'])[1 + n % 3]::pgqueuer_status, 0, 'operation', true
        FROM generate_series(1, $1::bigint) AS n
    """,
    "pgqueuer_statistics": """
        INSERT INTO pgqueuer_statistics (created, count, priority, status, entrypoint)
        SELECT date_trunc('sec', now()) - interval '1 second' * (($1 - n) / 3), 3, 0,
               (ARRAY['queued', 'picked', 'successful'])[1 + n % 3]::pgqueuer_status, 'operation'
        FROM generate_series(1, $1::bigint) AS n
    """,
}


async def fill_messaging_tables(url: str, *, rows: int) -> None:
    """Add `rows` completed rows to every messaging table except the outbox, with indexes and constraints enabled.

    `url`: the URL of a migrated database for SQLAlchemy, as its owner.
    """
    await fill(url, MESSAGING_FILLS, rows=rows)


async def fill(url: str, fills: Mapping[str, str], *, rows: int) -> None:
    """Execute each table's statement in the given order, then vacuum and analyze every table."""
    connection = await asyncpg.connect(dsn_of(url))
    try:
        for statement in fills.values():
            await connection.execute(statement, *([rows] if "$1" in statement else []))
        for table in fills:
            await connection.execute(f"VACUUM (ANALYZE) {table}")
    finally:
        await connection.close()

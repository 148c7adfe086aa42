"""SQL statements of the commands. Each takes arrays, so that its text is the same for any number of rows."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from services.notifications.statuses import ADDRESS_UNVERIFIED
from shared.driver_statements import DriverStatement

RECIPIENTS_OF = DriverStatement("""
    SELECT user_id, email, name, locale, email_verified FROM recipient WHERE user_id = ANY(CAST(:user_ids AS uuid[]))
""")

# Advisory locks, taken in the order of the array. The first number tells them from those for other purposes.
LOCK = sa.text("SELECT pg_advisory_xact_lock(1, lock) FROM unnest(CAST(:locks AS int[])) AS l (lock)")
LOCK_SHARED = sa.text("SELECT pg_advisory_xact_lock_shared(1, lock) FROM unnest(CAST(:locks AS int[])) AS l (lock)")

REPLACE_RECIPIENTS = sa.text("""
    INSERT INTO recipient (user_id, email, name, locale, time_zone, email_verified, sequence)
    SELECT * FROM unnest(
        CAST(:user_ids AS uuid[]), CAST(:emails AS text[]), CAST(:names AS text[]), CAST(:locales AS text[]),
        CAST(:time_zones AS text[]), CAST(:email_verified AS boolean[]), CAST(:sequences AS bigint[])
    )
    ON CONFLICT (user_id) DO UPDATE SET
        email = excluded.email, name = excluded.name, locale = excluded.locale, time_zone = excluded.time_zone,
        email_verified = excluded.email_verified, sequence = excluded.sequence, updated_at = now()
    WHERE excluded.sequence > recipient.sequence
""")

# A notification is stored once per user and event, and once per change of an order, with a delivery for each channel: a
# sealed mail is not shown in the app. Returns those that were stored.
INSERT_NOTIFICATIONS = DriverStatement("""
    WITH given AS (
        SELECT * FROM unnest(
            CAST(:ids AS uuid[]), CAST(:user_ids AS uuid[]), CAST(:event_ids AS uuid[]), CAST(:event_types AS text[]),
            CAST(:categories AS text[]), CAST(:titles AS text[]), CAST(:data AS text[]), CAST(:in_app_ids AS uuid[]),
            CAST(:email_ids AS uuid[]), CAST(:email_statuses AS text[]), CAST(:email_errors AS text[]),
            CAST(:traceparents AS text[]), CAST(:sealed AS text[]), CAST(:locales AS text[]),
            CAST(:expires_at AS timestamptz[])
        ) AS g (
            id, user_id, event_id, event_type, category, title, data, in_app_id, email_id, email_status, email_error,
            traceparent, sealed, locale, expires_at
        )
    ), stored AS (
        INSERT INTO notification (
            id, user_id, event_id, event_type, category, title, data, in_app, sealed, locale, expires_at
        )
        SELECT id, user_id, event_id, event_type, category, title, CAST(data AS jsonb), sealed IS NULL, sealed, locale,
               expires_at
        FROM given
        ON CONFLICT DO NOTHING
        RETURNING id
    ), in_app AS (
        INSERT INTO delivery (id, notification_id, channel, status, sent_at)
        SELECT in_app_id, id, 'in_app', 'sent', now() FROM given JOIN stored USING (id) WHERE sealed IS NULL
    ), email AS (
        INSERT INTO delivery (
            id, notification_id, channel, status, attempts, first_due_at, next_attempt_at, traceparent, last_error
        )
        SELECT email_id, id, 'email', email_status, CAST(email_status = 'sending' AS int),
               CASE WHEN email_status <> 'deferred' THEN now() END,
               CASE email_status
                   WHEN 'queued' THEN now() WHEN 'sending' THEN clock_timestamp() + CAST(:lease AS interval)
               END,
               traceparent, email_error
        FROM given JOIN stored USING (id)
    )
    SELECT id FROM stored
""")

LOCK_DEFERRED = sa.text("""
    SELECT n.id AS notification_id, n.user_id, n.event_type, n.data
    FROM delivery d JOIN notification n ON n.id = d.notification_id
    WHERE n.user_id = ANY(CAST(:user_ids AS uuid[])) AND d.status = 'deferred'
    ORDER BY d.id FOR UPDATE OF d
""").columns(data=JSONB)

RELEASE_DEFERRED = sa.text(f"""
    WITH given AS (
        SELECT * FROM unnest(
            CAST(:notification_ids AS uuid[]), CAST(:titles AS text[]), CAST(:is_due AS boolean[])
        ) AS g (notification_id, title, is_due)
    ), titled AS (
        UPDATE notification n SET title = g.title FROM given g WHERE n.id = g.notification_id
    )
    UPDATE delivery d SET
        status = CASE WHEN g.is_due THEN 'queued' ELSE 'deferred' END,
        first_due_at = CASE WHEN g.is_due THEN now() END,
        next_attempt_at = CASE WHEN g.is_due THEN now() END,
        last_error = CASE WHEN NOT g.is_due THEN '{ADDRESS_UNVERIFIED}' END
    FROM given g WHERE d.notification_id = g.notification_id AND d.status = 'deferred'
""")  # noqa: S608 - a constant

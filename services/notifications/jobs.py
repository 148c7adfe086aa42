"""Jobs of the notifications service: purging old notifications, opening, exporting and erasing recipients' data."""

from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from services.notifications import recipient_export
from services.notifications.recipient_erasure import add_erasure_jobs
from services.notifications.recipients import replace_recipients
from shared.data_exports import add_export_jobs
from shared.database import Sessions
from shared.jobs import Jobs
from shared.maintenance import purge_in_batches, schedule_purge
from shared.personal_keys import PersonalKeys
from shared.sealed_contacts import add_contact_jobs

BATCH_ROWS = 1_000
"""Notifications per transaction. More would hold their locks for longer."""

# Ids rise with the time of their creation. A notification is kept while a mail of it has a next attempt; one that is
# deferred has none: its recipient could not be reached all the time. Skips rows that other transactions have locked,
# because waiting for them could deadlock.
_PURGE = sa.text("""
    WITH old AS MATERIALIZED (
        SELECT id FROM notification n
        WHERE id < :first_kept_id
        AND NOT EXISTS (SELECT FROM delivery d WHERE d.notification_id = n.id AND d.next_attempt_at IS NOT NULL)
        ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED
    ), locked AS MATERIALIZED (
        SELECT notification_id FROM delivery
        WHERE notification_id = ANY(ARRAY(SELECT id FROM old)) AND next_attempt_at IS NULL
        FOR UPDATE SKIP LOCKED
    ), free AS MATERIALIZED (
        SELECT l.notification_id AS id FROM locked l GROUP BY l.notification_id
        HAVING count(*) = (SELECT count(*) FROM delivery d WHERE d.notification_id = l.notification_id)
    ), purged AS (
        DELETE FROM notification WHERE id = ANY(ARRAY(SELECT id FROM free)) RETURNING id
    )
    SELECT count(*) FROM purged
""").bindparams(sa.bindparam("first_kept_id", type_=sa.Uuid))


def notification_jobs(
    *, retention: timedelta, keys: PersonalKeys, erasure_wait: timedelta = timedelta(hours=1)
) -> Jobs:
    """Return the service's jobs. Notifications are purged `retention` after their creation.

    `keys` open what events of users hold. An erasure waits for mails that are being sent, `erasure_wait` at most.
    """
    jobs = Jobs()

    async def purge_old_notifications(sessions: Sessions, now: datetime) -> int:
        purge = partial(purge_notifications, before=now - retention, limit=BATCH_ROWS)
        return await purge_in_batches(sessions, purge)

    schedule_purge(jobs, purge_old_notifications, "27 * * * *")
    add_export_jobs(jobs, keys=keys, collection=recipient_export.COLLECTION, record_part=recipient_export.record_part)
    add_erasure_jobs(jobs, keys=keys, max_wait=erasure_wait)
    return add_contact_jobs(jobs, keys=keys, replace=replace_recipients)


async def purge_notifications(session: AsyncSession, *, before: datetime, limit: int) -> int:
    """Delete one batch of the notifications from before a time, with their deliveries; return their number.

    Keeps those with an open delivery. An event cannot notify again after the purge: its id was in the inbox when it
    notified, and by now the event is older than the inbox remembers, so a consumer that gets it again stores it as a
    dead letter. Repeat it, in a transaction each, until it returns 0.
    """
    # The lowest UUIDv7 of that time.
    first_kept_id = UUID(int=int(before.timestamp() * 1_000) << 80)
    return await session.scalar(_PURGE, {"first_kept_id": first_kept_id, "limit": limit}) or 0

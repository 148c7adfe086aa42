"""The command that settles a missing notification: it depends on whether its event was applied."""

from deploy.audit import commands
from deploy.audit.context import Context
from deploy.audit.findings import Violation

_SENT = """
    SELECT event_id, sent_at FROM outbox_sent WHERE topic = $1 AND key = $2 AND type = $3 ORDER BY sent_at
"""
_APPLIED = """
    SELECT i.event_id FROM unnest($2::uuid[]) AS e (id)
    JOIN inbox i ON i.consumer = $1 AND i.event_id = e.id
        AND i.day = (uuid_extract_timestamp(e.id) AT TIME ZONE 'UTC')::date
"""


async def settle_missing(context: Context, violation: Violation, *, topic: str, key: str, event_type: str) -> str:
    """Return the command for a notification of this event, which is missing.

    An event that was not applied is resent. If it was applied, or is no longer stored, nothing makes the notification
    again: somebody has to tell the customer, and accepts the finding.
    """
    sent = await context.databases[topic].fetch(_SENT, topic, key, event_type)
    event_ids = [row["event_id"] for row in sent]
    applied = await context.databases["notifications"].fetch(_APPLIED, f"notifications.{topic}", event_ids)
    lost = {*event_ids} - {row["event_id"] for row in applied}
    times = [row["sent_at"] for row in sent if row["event_id"] in lost]
    return commands.resend(topic, topic=topic, key=key, since=times[0]) if times else commands.accept(violation.id)

"""Checks of notifications: their deliveries, and that what they are about exists."""

from collections.abc import Sequence
from uuid import UUID

import asyncpg

from deploy.audit import commands
from deploy.audit.context import Context
from deploy.audit.findings import Invariant, Key, Kind, Violation

# A mail waits until its recipient's address is verified. One with a one-time token ends with the token, or the user.
_NOTIFICATIONS = """
    SELECT n.id, n.user_id, n.event_type, n.category, n.data->>'order_id' AS order_id, n.created_at,
           CASE WHEN n.in_app THEN ARRAY['email', 'in_app'] ELSE ARRAY['email'] END AS expected,
           array_agg(d.channel ORDER BY d.channel) FILTER (WHERE d.id IS NOT NULL) AS channels,
           array_agg(d.status ORDER BY d.channel) FILTER (WHERE d.id IS NOT NULL) AS statuses,
           bool_and(
               d.status = 'sent' OR (d.status = 'deferred' AND r.email_verified IS FALSE)
               OR (d.status = 'failed' AND d.last_error IN ('expired', 'recipient_erased') AND NOT n.in_app)
           ) AS is_settled
    FROM notification n
    LEFT JOIN delivery d ON d.notification_id = n.id LEFT JOIN recipient r ON r.user_id = n.user_id
    WHERE n.id = ANY($1::uuid[])
    GROUP BY n.id
"""
_KNOWN_ORDERS = "SELECT id FROM customer_order WHERE id = ANY($1::uuid[])"
_KNOWN_USERS = "SELECT id FROM user_account WHERE id = ANY($1::uuid[])"


async def check_notifications(context: Context, notification_ids: Sequence[str]) -> list[Violation]:
    """Check notifications by id. Unknown ones violate nothing."""
    rows = await context.databases["notifications"].fetch(_NOTIFICATIONS, notification_ids)
    return [*_check_deliveries(context, rows), *await _check_subjects(context, rows)]


def _check_deliveries(context: Context, rows: Sequence[asyncpg.Record]) -> list[Violation]:
    """Check that each has a delivery per channel. In production a mail may wait or have failed; at rest it is sent."""
    found: list[Violation] = []
    for row in rows:
        channels, statuses = row["channels"] or [], row["statuses"] or []
        has_all = channels == row["expected"]
        if has_all and (row["is_settled"] or not context.at_rest):
            continue
        states = ", ".join(f"{one} {status}" for one, status in zip(channels, statuses, strict=True))
        text = f"notification {row['id']} ({row['event_type']}): {states or 'no delivery'}"
        key = Key(Kind.NOTIFICATION, str(row["id"]))
        violation = Violation(Invariant.NOTIFICATION_SENT, key, text, "", row["created_at"])
        command = commands.run_role("notifications", "jobs") if has_all else commands.accept(violation.id)
        found.append(Violation(violation.invariant, key, text, command, row["created_at"]))
    return found


async def _check_subjects(context: Context, rows: Sequence[asyncpg.Record]) -> list[Violation]:
    order_ids = {UUID(row["order_id"]) for row in rows if row["category"] == "orders" and row["order_id"]}
    user_ids = {row["user_id"] for row in rows}
    known = {row["id"] for row in await context.databases["orders"].fetch(_KNOWN_ORDERS, list(order_ids))}
    known |= {row["id"] for row in await context.databases["users"].fetch(_KNOWN_USERS, list(user_ids))}
    found: list[Violation] = []
    for row in rows:
        about = f"notification {row['id']} ({row['event_type']})"
        key = Key(Kind.NOTIFICATION, str(row["id"]))
        if row["category"] == "orders" and row["order_id"] and UUID(row["order_id"]) not in known:
            text = f"{about} is about order {row['order_id']}, which is unknown to orders"
            command = commands.drop_notifications_of(row["order_id"])
        elif row["category"] != "orders" and row["user_id"] not in known:
            text = f"{about} is for user {row['user_id']}, who is unknown to users"
            command = commands.drop_notification(str(row["id"]))
        else:
            continue
        found.append(Violation(Invariant.NOTIFICATION_HAS_SUBJECT, key, text, command, row["created_at"]))
    return found

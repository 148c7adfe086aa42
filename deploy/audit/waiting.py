"""Checks of what waits for too long: found by an index, oldest first, at most MAX_LISTED of each."""

import asyncpg

from deploy.audit import commands
from deploy.audit.context import Context
from deploy.audit.databases import SERVICES
from deploy.audit.findings import Invariant, Key, Kind, Violation

MAX_LISTED = 100
"""Upper bound of the violations of one kind that a run lists."""

_DEAD_LETTERS = """
    SELECT id, consumer, topic, key, coalesce(type, 'an event') AS type, reason
    FROM (SELECT * FROM dead_letter WHERE resolution IS NULL ORDER BY id LIMIT $2) AS oldest
    WHERE dead_lettered_at < $1 OR reason NOT IN ('retrying', 'blocked')
"""
# A row of a shard waits behind those with lower ids.
_OUTBOX = """
    SELECT id, type, topic, key FROM (SELECT * FROM outbox ORDER BY shard, id LIMIT $2) AS oldest WHERE occurred_at < $1
"""
_PENDING_ORDERS = """
    SELECT id, number, deadline FROM customer_order
    WHERE status = 'pending' AND deadline < $1 ORDER BY deadline LIMIT $2
"""
_CONTACTS = "SELECT user_id, received_at FROM sealed_contact WHERE received_at < $1 ORDER BY received_at LIMIT $2"
# A mail to an address that is not verified waits for its user: that is no violation.
_DELIVERIES = """
    (SELECT id, channel, status, next_attempt_at AS due_at, NULL::uuid AS user_id FROM delivery
     WHERE status = 'queued' AND next_attempt_at < $1 ORDER BY next_attempt_at LIMIT $2)
    UNION ALL
    (SELECT id, channel, status, next_attempt_at, NULL FROM delivery
     WHERE status IN ('sending', 'retrying') AND next_attempt_at < $1 ORDER BY next_attempt_at LIMIT $2)
    UNION ALL
    SELECT d.id, d.channel, d.status, n.created_at, n.user_id
    FROM (
        SELECT * FROM delivery WHERE status = 'deferred' AND last_error IS DISTINCT FROM 'address_unverified'
        ORDER BY id LIMIT $2
    ) AS d
    JOIN notification n ON n.id = d.notification_id
    WHERE n.created_at < $1
"""
_JOBS = """
    SELECT entrypoint || ' ' || id AS job, execute_after AS due_at
    FROM (SELECT * FROM pgqueuer WHERE status = 'queued' ORDER BY id LIMIT $2) AS oldest WHERE execute_after < $1
    UNION ALL
    SELECT entrypoint, next_run FROM pgqueuer_schedules WHERE next_run < $1
"""


async def check_waiting(context: Context) -> list[Violation]:
    """Check dead letters, outboxes, sealed contacts and pending orders.

    In production also deliveries and jobs: at rest none is due.
    """
    found: list[Violation] = []
    for service in SERVICES:
        found += await _check_dead_letters(context, service)
        found += await _check_outbox(context, service)
    for service in ("orders", "notifications"):
        found += await _check_contacts(context, service)
    found += await _check_pending_orders(context)
    if not context.at_rest:
        found += await _check_deliveries(context)
        for service in SERVICES:
            found += await _check_jobs(context, service)
    return found


async def _check_dead_letters(context: Context, service: str) -> list[Violation]:
    """Check dead letters. The drain retries a handler's errors, and blocked events follow: these count later."""
    rows = await context.databases[service].fetch(_DEAD_LETTERS, context.settled_before, MAX_LISTED)
    return [
        _violation(
            Invariant.NO_DEAD_LETTER,
            f"{service}/dead-letter/{row['id']}",
            f"{service}: {row['consumer']} could not apply {row['type']} of {row['topic']} {row['key']} "
            f"({row['reason']})",
            commands.settle_dead_letter(service, row["id"], reason=row["reason"]),
        )
        for row in rows
    ]


async def _check_outbox(context: Context, service: str) -> list[Violation]:
    rows = await context.databases[service].fetch(_OUTBOX, context.settled_before, MAX_LISTED)
    return [
        _violation(
            Invariant.OUTBOX_EMPTY,
            f"{service}/outbox/{row['id']}",
            f"{service}: {row['type']} of {row['topic']} {row['key']} is not sent yet",
            commands.run_role(service, "relay"),
        )
        for row in rows
    ]


async def _check_contacts(context: Context, service: str) -> list[Violation]:
    rows = await context.databases[service].fetch(_CONTACTS, context.settled_before, MAX_LISTED)
    return [
        _violation(
            Invariant.CONTACTS_OPENED,
            f"{service}/contact/{row['user_id']}",
            f"{service}: the data of user {row['user_id']} are sealed since {row['received_at'].isoformat()}",
            commands.run_role(service, "jobs"),
        )
        for row in rows
    ]


async def _check_pending_orders(context: Context) -> list[Violation]:
    rows = await context.databases["orders"].fetch(_PENDING_ORDERS, context.settled_before, MAX_LISTED)
    return [
        _violation(
            Invariant.NO_PENDING_ORDER,
            f"orders/pending/{row['id']}",
            f"order {row['id']} ({row['number']}) is pending, and its deadline is {row['deadline'].isoformat()}",
            _settle_pending(context, row),
        )
        for row in rows
    ]


def _settle_pending(context: Context, order: asyncpg.Record) -> str:
    order_id, is_overdue = str(order["id"]), order["deadline"] < context.now
    return commands.cancel_overdue(order_id) if is_overdue else commands.republish_order(order_id)


async def _check_deliveries(context: Context) -> list[Violation]:
    rows = await context.databases["notifications"].fetch(_DELIVERIES, context.settled_before, MAX_LISTED)
    return [
        _violation(
            Invariant.NO_OVERDUE_DELIVERY,
            f"notifications/delivery/{row['id']}",
            f"delivery {row['id']} ({row['channel']}) is {row['status']} since {row['due_at'].isoformat()}",
            _settle_delivery(row),
        )
        for row in rows
    ]


def _settle_delivery(row: asyncpg.Record) -> str:
    """Name the command: a deferred mail waits for its recipient, any other one for the loop that sends mails."""
    user_id = row["user_id"]
    return commands.republish_user(str(user_id)) if user_id else commands.run_role("notifications", "jobs")


async def _check_jobs(context: Context, service: str) -> list[Violation]:
    rows = await context.databases[service].fetch(_JOBS, context.settled_before, MAX_LISTED)
    return [
        _violation(
            Invariant.NO_OVERDUE_JOB,
            f"{service}/job/{row['job']}",
            f"{service}: the job {row['job']} is due since {row['due_at'].isoformat()} and has not begun",
            commands.run_role(service, "jobs"),
        )
        for row in rows
    ]


def _violation(invariant: Invariant, value: str, text: str, command: str) -> Violation:
    return Violation(invariant, Key(Kind.WAITING, value), text, command)

"""Checks of users: the credit account, its ledger, and the welcome notification."""

from collections.abc import Sequence
from dataclasses import replace

from deploy.audit import commands
from deploy.audit.ages import first_id_at
from deploy.audit.context import Context
from deploy.audit.findings import Invariant, Key, Kind, Violation
from deploy.audit.missing_notifications import settle_missing

# One statement, so that account and reservations are those of one moment.
_CREDIT = """
    SELECT a.user_id, a.limit_cents, a.reserved_cents, a.used_cents, r.reserved, r.used
    FROM credit_account a, LATERAL (
        SELECT coalesce(sum(amount_cents) FILTER (WHERE status = 'reserved'), 0)::bigint AS reserved,
               coalesce(sum(amount_cents - refunded_cents) FILTER (WHERE status = 'used'), 0)::bigint AS used
        FROM credit_reservation WHERE user_id = a.user_id AND status IN ('reserved', 'used')
    ) r
    WHERE a.user_id = ANY($1::uuid[]) AND (
        a.reserved_cents < 0 OR a.used_cents < 0 OR a.reserved_cents + a.used_cents > a.limit_cents
        OR (a.reserved_cents, a.used_cents) IS DISTINCT FROM (r.reserved, r.used)
    )
"""
# One statement, so that account and entries are those of one moment. The primary key leads to the entries of a user.
_LEDGER = """
    SELECT a.user_id, a.reserved_cents, a.used_cents, a.limit_cents, e.reserved, e.used, e.limit_cents AS limit_sum,
           n.reserved_cents AS newest_reserved, n.used_cents AS newest_used, n.limit_cents AS newest_limit
    FROM credit_account a
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(reserved_delta_cents), 0)::bigint AS reserved,
               coalesce(sum(used_delta_cents), 0)::bigint AS used,
               coalesce(sum(limit_delta_cents), 0)::bigint AS limit_cents
        FROM credit_entry WHERE user_id = a.user_id
    ) e
    LEFT JOIN LATERAL (
        SELECT reserved_cents, used_cents, limit_cents FROM credit_entry WHERE user_id = a.user_id
        ORDER BY id DESC LIMIT 1
    ) n ON true
    WHERE a.user_id = ANY($1::uuid[]) AND (
        (a.reserved_cents, a.used_cents, a.limit_cents) IS DISTINCT FROM (e.reserved, e.used, e.limit_cents)
        OR (a.reserved_cents, a.used_cents, a.limit_cents)
           IS DISTINCT FROM (n.reserved_cents, n.used_cents, n.limit_cents)
    )
"""
_CREATED = "SELECT id, created_at FROM user_account WHERE id = ANY($1::uuid[]) AND created_at >= $2"
# The index on (user_id, id) leads to the notifications since the user's creation. Those of erased users are deleted.
_WELCOMES = """
    SELECT u.id, count(n.id) AS welcomes, max(n.id::text) AS newest
    FROM unnest($1::uuid[], $2::uuid[]) AS u (id, first_id)
    LEFT JOIN notification n ON n.user_id = u.id AND n.id >= u.first_id AND n.event_type = 'user.created'
    WHERE NOT EXISTS (SELECT FROM erased_user e WHERE e.user_id = u.id AND e.erased_at IS NOT NULL)
    GROUP BY u.id HAVING count(n.id) <> 1
"""


async def check_users(context: Context, user_ids: Sequence[str]) -> list[Violation]:
    """Check users by id. Unknown ones violate nothing."""
    return [
        *await _check_credit(context, user_ids),
        *await _check_ledger(context, user_ids),
        *await _check_welcomes(context, user_ids),
    ]


async def _check_credit(context: Context, user_ids: Sequence[str]) -> list[Violation]:
    found: list[Violation] = []
    for row in await context.databases["users"].fetch(_CREDIT, user_ids):
        user_id = str(row["user_id"])
        reserved, used, limit = row["reserved_cents"], row["used_cents"], row["limit_cents"]
        held, key = f"user {user_id}: {reserved} cents reserved and {used} used", Key(Kind.USER, user_id)
        if reserved < 0 or used < 0 or reserved + used > limit:
            command = commands.recompute_credit(user_id, raise_limit=True)
            found.append(Violation(Invariant.CREDIT_WITHIN_LIMIT, key, f"{held}, but the limit is {limit}", command))
        if (reserved, used) != (row["reserved"], row["used"]):
            text = f"{held}, but the orders add up to {row['reserved']} and {row['used']}"
            command = commands.recompute_credit(user_id)
            found.append(Violation(Invariant.CREDIT_IS_SUM_OF_ORDERS, key, text, command))
    return found


async def _check_ledger(context: Context, user_ids: Sequence[str]) -> list[Violation]:
    found: list[Violation] = []
    for row in await context.databases["users"].fetch(_LEDGER, user_ids):
        user_id = str(row["user_id"])
        reserved, used, limit = row["reserved_cents"], row["used_cents"], row["limit_cents"]
        text = (
            f"user {user_id}: {reserved} cents reserved, {used} used and a limit of {limit}, but the ledger's entries"
        )
        sums = (row["reserved"], row["used"], row["limit_sum"])
        if sums != (reserved, used, limit):
            text = f"{text} add up to {sums[0]}, {sums[1]} and {sums[2]}"
        else:
            text = f"{text} end with {row['newest_reserved']}, {row['newest_used']} and {row['newest_limit']}"
        command = commands.recompute_credit(user_id, raise_limit=reserved + used > limit)
        found.append(Violation(Invariant.CREDIT_IS_SUM_OF_ENTRIES, Key(Kind.USER, user_id), text, command))
    return found


async def _check_welcomes(context: Context, user_ids: Sequence[str]) -> list[Violation]:
    rows = await context.databases["users"].fetch(_CREATED, user_ids, context.notified_since)
    created_at = {row["id"]: row["created_at"] for row in rows}
    first_ids = [first_id_at(time) for time in created_at.values()]
    found: list[Violation] = []
    for row in await context.databases["notifications"].fetch(_WELCOMES, list(created_at), first_ids):
        user_id = str(row["id"])
        text = f"user {user_id}: {row['welcomes']} welcome notifications, expected 1"
        command = commands.drop_notification(row["newest"])
        violation = Violation(Invariant.ONE_WELCOME, Key(Kind.USER, user_id), text, command, created_at[row["id"]])
        if not row["welcomes"]:
            command = await settle_missing(context, violation, topic="users", key=user_id, event_type="user.created")
        found.append(replace(violation, command=command))
    return found

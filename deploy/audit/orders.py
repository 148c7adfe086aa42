"""Checks of orders: their credit in the users service, and their notifications."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import asyncpg

from deploy.audit import commands
from deploy.audit.context import Context
from deploy.audit.findings import Invariant, Key, Kind, Violation
from deploy.audit.missing_notifications import settle_missing

_ORDERS = """
    SELECT o.id, o.user_id, o.total_cents, o.refunded_cents, o.status, o.updated_at, t.changes, t.times
    FROM customer_order o, LATERAL (
        SELECT array_agg('order.' || CASE WHEN amount_cents IS NULL THEN status ELSE 'refunded' END) AS changes,
               array_agg(at) AS times
        FROM order_timeline WHERE order_id = o.id AND status <> 'pending'
    ) t
    WHERE o.id = ANY($1::uuid[])
"""
_RESERVATIONS = """
    SELECT order_id, status, amount_cents, refunded_cents, updated_at
    FROM credit_reservation WHERE order_id = ANY($1::uuid[]) AND status IN ('reserved', 'used')
"""
_KNOWN_USERS = "SELECT id FROM user_account WHERE id = ANY($1::uuid[])"
# Without ORDER BY: the planner would read all notifications by the index that has this order.
_NOTIFICATIONS = """
    SELECT (data->>'order_id')::uuid AS order_id, id, event_type, created_at
    FROM notification WHERE data->>'order_id' = ANY($1::text[]) AND category = 'orders'
"""
_ERASED_USERS = "SELECT user_id FROM erased_user WHERE user_id = ANY($1::uuid[]) AND erased_at IS NOT NULL"


class _Credit(NamedTuple):
    """The credit that an order holds."""

    status: str
    cents: int

    def __str__(self) -> str:
        return f"{self.status} credit of {self.cents} cents"


async def check_orders(context: Context, order_ids: Sequence[str]) -> list[Violation]:
    """Check orders by id, also those that the orders service does not know.

    Credit and notifications are read before the orders: what has an effect there is committed here.
    """
    databases = context.databases
    reservations = {row["order_id"]: row for row in await databases["users"].fetch(_RESERVATIONS, order_ids)}
    orders = {row["id"]: row for row in await databases["orders"].fetch(_ORDERS, order_ids)}
    found: list[Violation] = []
    for order_id in orders.keys() | reservations.keys():
        found += _compare_credit(order_id, orders.get(order_id), reservations.get(order_id))
    found = await _without_users(context, found, orders)
    return found + await _check_notifications(context, orders)


async def _without_users(
    context: Context, found: Sequence[Violation], orders: dict[UUID, asyncpg.Record]
) -> list[Violation]:
    """Name other commands for the orders of users that the users service does not know: no credit can be theirs."""
    about = {each: orders.get(UUID(each.key.value)) for each in found}
    user_ids = [order["user_id"] for order in about.values() if order is not None]
    known = {row["id"] for row in await context.databases["users"].fetch(_KNOWN_USERS, user_ids)} if user_ids else set()
    return [
        violation if order is None or order["user_id"] in known else _of_unknown_user(violation, order)
        for violation, order in about.items()
    ]


def _of_unknown_user(violation: Violation, order: asyncpg.Record) -> Violation:
    is_open = order["status"] in {"pending", "confirmed"}
    command = commands.cancel_order(violation.key.value) if is_open else commands.accept(violation.id)
    return replace(violation, text=f"{violation.text}, whose user it does not know", command=command)


def _compare_credit(
    order_id: UUID, order: asyncpg.Record | None, reservation: asyncpg.Record | None
) -> list[Violation]:
    expected, held = _expected_credit(order), _held_credit(reservation)
    if expected == held:
        return []
    key = Key(Kind.ORDER, str(order_id))
    changed_at = max(row["updated_at"] for row in (order, reservation) if row is not None)
    if order is None:
        text, command = f"order {order_id} is unknown to orders", commands.release_credit(str(order_id))
    else:
        text, command = f"order {order_id} is {order['status']}", commands.republish_order(str(order_id))
    text = f"{text} and holds {expected or 'no credit'}, but in users it holds {held or 'no credit'}"
    return [Violation(Invariant.CREDIT_AGREED, key, text, command, changed_at)]


def _expected_credit(order: asyncpg.Record | None) -> _Credit | None:
    """Open orders hold reserved credit, shipped ones used credit, all others none."""
    if order is None or order["status"] in {"rejected", "cancelled"}:
        return None
    status = "reserved" if order["status"] in {"pending", "confirmed"} else "used"
    return _Credit(status, order["total_cents"] - order["refunded_cents"])


def _held_credit(reservation: asyncpg.Record | None) -> _Credit | None:
    if reservation is None:
        return None
    return _Credit(reservation["status"], reservation["amount_cents"] - reservation["refunded_cents"])


async def _check_notifications(context: Context, orders: dict[UUID, asyncpg.Record]) -> list[Violation]:
    rows = await context.databases["notifications"].fetch(_NOTIFICATIONS, [str(order_id) for order_id in orders])
    notifications: dict[UUID, list[asyncpg.Record]] = {}
    for row in rows:
        notifications.setdefault(row["order_id"], []).append(row)
    # After the notifications, which go with their user.
    user_ids = list({order["user_id"] for order in orders.values()})
    erased = {row["user_id"] for row in await context.databases["notifications"].fetch(_ERASED_USERS, user_ids)}
    found: list[Violation] = []
    for order_id, order in orders.items():
        if order["user_id"] in erased:
            continue
        found += await _compare_notifications(context, order, notifications.get(order_id, []))
    return found


async def _compare_notifications(
    context: Context, order: asyncpg.Record, notifications: Sequence[asyncpg.Record]
) -> list[Violation]:
    """Compare the timeline with the notifications: each entry has one, except the first. Old ones may be purged."""
    order_id = str(order["id"])
    entries = list(zip(order["changes"] or (), order["times"] or (), strict=True))
    kept = Counter(change for change, at in entries if at >= context.notified_since)
    every = Counter(change for change, _ in entries)
    made = Counter(row["event_type"] for row in notifications)
    found: list[Violation] = []
    for event_type in sorted(every.keys() | made.keys()):
        if kept[event_type] <= made[event_type] <= every[event_type]:
            continue
        changed_at: datetime = max(
            [order["updated_at"], *(row["created_at"] for row in notifications), *(at for _, at in entries)]
        )
        text = f"order {order_id}: {made[event_type]} {event_type} notifications, expected {every[event_type]}"
        key = Key(Kind.ORDER, order_id)
        violation = Violation(Invariant.ONE_NOTIFICATION_PER_CHANGE, key, text, "", changed_at, detail=event_type)
        if made[event_type] > every[event_type]:
            surplus = max(row["id"] for row in notifications if row["event_type"] == event_type)
            command = commands.drop_notification(str(surplus))
        else:
            command = await settle_missing(context, violation, topic="orders", key=order_id, event_type=event_type)
        found.append(replace(violation, command=command))
    return found

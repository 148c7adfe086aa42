"""The rows of a small, undamaged system that nobody has used for an hour."""

# ruff: noqa: S608 - the values are constants of this file

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from deploy.audit.streams import HANDLED_TYPES
from shared.events.contract import Event
from shared.events.orders import OrderConfirmed, OrderCreated
from shared.events.users import CreditRefused, CreditReserved, UserCreated
from shared.ids import new_id
from tests.harness.personal_keys import profile_event

USER = "0199a6e2-0000-7000-8000-000000000001"
CONFIRMED, SHIPPED, REJECTED = (f"0199a6e2-0000-7000-8000-00000000001{digit}" for digit in "123")
THEN = "now() - interval '1 hour'"

Events = Sequence[tuple[Event, UUID]]
"""A key's events with their ids, in their order."""


def _credit(order_id: str, amount_cents: int) -> dict[str, Any]:
    return {"user_id": UUID(USER), "order_id": UUID(order_id), "amount_cents": amount_cents, "currency": "GBP"}


_ORDER: dict[str, Any] = {
    "order_id": UUID(CONFIRMED),
    "number": "O-1",
    "user_id": UUID(USER),
    "total_cents": 300,
    "currency": "GBP",
}
USER_EVENTS: Events = [
    (event, new_id())
    for event in (
        profile_event(UserCreated, UUID(USER)),
        CreditReserved(**_credit(CONFIRMED, 300)),
        CreditReserved(**_credit(SHIPPED, 400)),
        CreditRefused(**_credit(REJECTED, 900), reason="limit_exceeded"),
    )
]
ORDER_EVENTS: Events = [
    (event, new_id())
    for event in (OrderCreated(**_ORDER, deadline=datetime.now(UTC)), OrderConfirmed(**_ORDER, lines=()))
]


def sent(topic: str, key: str, events: Events) -> str:
    """Return SQL that stores a key's events as sent."""
    return f"""
        INSERT INTO event_stream (topic, key, sequence, moved_on)
        VALUES ('{topic}', '{key}', {len(events)}, current_date);
        INSERT INTO outbox_sent (day, id, event_id, topic, key, sequence, type, source, dataschema, occurred_at,
                                 payload, shard, partition, "offset", sent_at)
        SELECT (now() AT TIME ZONE 'UTC')::date, n, id, '{topic}', '{key}', n, type, 'urn:orderly:{topic}', '-',
               {THEN}, convert_to(payload, 'UTF8'), 0, 0, n, {THEN}
        FROM (VALUES {_rows(events)}) AS e (n, type, id, payload);
    """


def applied(topic: str, key: str, events: Events) -> dict[str, str]:
    """Return SQL by service that applies the events which each service handles."""
    statements: dict[str, str] = {}
    for service, types in HANDLED_TYPES[topic].items():
        handled = [(n, id_) for n, (event, id_) in enumerate(events, start=1) if event.type in types]
        if handled:
            ids = ", ".join(f"('{id_}'::uuid)" for _, id_ in handled)
            statements[service] = f"""
                INSERT INTO inbox (consumer, day, event_id)
                SELECT '{service}.{topic}', (uuid_extract_timestamp(id) AT TIME ZONE 'UTC')::date, id
                FROM (VALUES {ids}) AS e (id);
                INSERT INTO inbox_sequence (consumer, topic, key, sequence, moved_on)
                VALUES ('{service}.{topic}', '{topic}', '{key}', {handled[-1][0]}, current_date);
            """
    return statements


def entry(
    kind: str,
    *,
    balances: tuple[int, int, int],
    order_id: str | None = None,
    reserved_delta: int = 0,
    used_delta: int = 0,
    limit_delta: int = 0,
) -> str:
    """Return SQL that stores an entry of the user's ledger. `balances`: reserved, used, and the limit."""
    order = f"'{order_id}'" if order_id else "NULL"
    return f"""
        INSERT INTO credit_entry (user_id, order_id, kind, reserved_delta_cents, used_delta_cents, limit_delta_cents,
                                  reserved_cents, used_cents, limit_cents, created_at)
        VALUES ('{USER}', {order}, '{kind}', {reserved_delta}, {used_delta}, {limit_delta},
                {balances[0]}, {balances[1]}, {balances[2]}, {THEN});
    """


def _rows(events: Events) -> str:
    return ", ".join(
        f"({n}, '{event.type}', '{id_}'::uuid, '{event.model_dump_json()}')"
        for n, (event, id_) in enumerate(events, start=1)
    )


_APPLIED: Sequence[Mapping[str, str]] = (
    applied("users", USER, USER_EVENTS),
    applied("orders", CONFIRMED, ORDER_EVENTS),
)
# One user with three orders: one confirmed, one shipped and refunded in part, one rejected.
_OWN = {
    "users": f"""
        INSERT INTO user_account (id, email, name, locale, time_zone, roles, status, password_hash,
                                  created_at, updated_at, version)
        VALUES ('{USER}', 'ada@example.com', 'Ada', 'en', 'UTC', '{{customer}}', 'active', '-', {THEN}, {THEN}, 1);
        INSERT INTO credit_account (user_id, limit_cents, reserved_cents, used_cents, currency)
        VALUES ('{USER}', 1000, 300, 200, 'GBP');
        {entry("opened", limit_delta=1000, balances=(0, 0, 1000))}
        {entry("reserved", order_id=CONFIRMED, reserved_delta=300, balances=(300, 0, 1000))}
        {entry("reserved", order_id=SHIPPED, reserved_delta=400, balances=(700, 0, 1000))}
        {entry("used", order_id=SHIPPED, reserved_delta=-400, used_delta=400, balances=(300, 400, 1000))}
        {entry("refunded", order_id=SHIPPED, used_delta=-200, balances=(300, 200, 1000))}
        INSERT INTO credit_reservation (order_id, user_id, amount_cents, refunded_cents, currency, status, reason,
                                        created_at, updated_at)
        VALUES ('{CONFIRMED}', '{USER}', 300, 0, 'GBP', 'reserved', NULL, {THEN}, {THEN}),
               ('{SHIPPED}', '{USER}', 400, 200, 'GBP', 'used', NULL, {THEN}, {THEN}),
               ('{REJECTED}', '{USER}', 900, 0, 'GBP', 'refused', 'limit_exceeded', {THEN}, {THEN});
        {sent("users", USER, USER_EVENTS)}
    """,
    "orders": f"""
        INSERT INTO product (sku, name, description, price_cents, currency, stock, reserved, active, version)
        VALUES ('A', 'Lamp', '', 100, 'GBP', 10, 3, true, 1);
        INSERT INTO customer_order (id, number, user_id, status, currency, total_cents, refunded_cents, units,
                                    deadline, version, created_at, updated_at)
        VALUES ('{CONFIRMED}', 'O-1', '{USER}', 'confirmed', 'GBP', 300, 0, 3, {THEN}, 1, {THEN}, {THEN}),
               ('{SHIPPED}', 'O-2', '{USER}', 'shipped', 'GBP', 400, 200, 4, {THEN}, 1, {THEN}, {THEN}),
               ('{REJECTED}', 'O-3', '{USER}', 'rejected', 'GBP', 900, 0, 9, {THEN}, 1, {THEN}, {THEN});
        INSERT INTO order_item (order_id, sku, position, name, unit_price_cents, quantity)
        VALUES ('{CONFIRMED}', 'A', 1, 'Lamp', 100, 3), ('{SHIPPED}', 'A', 1, 'Lamp', 100, 4),
               ('{REJECTED}', 'A', 1, 'Lamp', 100, 9);
        INSERT INTO order_timeline (order_id, at, status, actor, amount_cents)
        VALUES ('{CONFIRMED}', {THEN}, 'pending', 'customer', NULL),
               ('{CONFIRMED}', {THEN}, 'confirmed', 'system', NULL),
               ('{SHIPPED}', {THEN}, 'pending', 'customer', NULL), ('{SHIPPED}', {THEN}, 'confirmed', 'system', NULL),
               ('{SHIPPED}', {THEN}, 'shipped', 'support', NULL), ('{SHIPPED}', {THEN}, 'shipped', 'support', 200),
               ('{REJECTED}', {THEN}, 'pending', 'customer', NULL), ('{REJECTED}', {THEN}, 'rejected', 'system', NULL);
        {sent("orders", CONFIRMED, ORDER_EVENTS)}
    """,
    "notifications": f"""
        INSERT INTO notification (id, user_id, event_id, event_type, category, title, data, created_at)
        SELECT uuidv7(interval '-1 hour'), '{USER}', uuidv7(), type, category, '', data, {THEN}
        FROM (VALUES ('user.created', 'account', '{{}}'::jsonb),
                     ('order.confirmed', 'orders', jsonb_build_object('order_id', '{CONFIRMED}')),
                     ('order.confirmed', 'orders', jsonb_build_object('order_id', '{SHIPPED}')),
                     ('order.shipped', 'orders', jsonb_build_object('order_id', '{SHIPPED}')),
                     ('order.refunded', 'orders', jsonb_build_object('order_id', '{SHIPPED}')),
                     ('order.rejected', 'orders', jsonb_build_object('order_id', '{REJECTED}')))
             changes (type, category, data);
        INSERT INTO delivery (id, notification_id, channel, status, sent_at)
        SELECT uuidv7(), id, channel, 'sent', {THEN} FROM notification, (VALUES ('email'), ('in_app')) c (channel);
    """,
}
UNDAMAGED = {service: "".join([rows, *(each.get(service, "") for each in _APPLIED)]) for service, rows in _OWN.items()}
"""The statements by service."""

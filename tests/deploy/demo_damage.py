"""The rows of a small, undamaged system, and the damage that the demo's invariants must find in it."""

# ruff: noqa: S608 - the values are constants of this file

from dataclasses import dataclass

USER = "0199a6e2-0000-7000-8000-000000000001"
CONFIRMED, SHIPPED, REJECTED = (f"0199a6e2-0000-7000-8000-00000000001{digit}" for digit in "123")


def _sent(topic: str, key: str, *types: str) -> str:
    """Return SQL that makes a key's sent events, of these types."""
    return "".join(
        f"""
        INSERT INTO outbox_sent (day, id, event_id, topic, key, sequence, type, source, dataschema, occurred_at,
                                 payload, shard, partition, "offset", sent_at)
        VALUES ((now() AT TIME ZONE 'UTC')::date, {sequence}, gen_random_uuid(), '{topic}', '{key}', {sequence},
                '{event_type}', '-', '-', now(), '', 0, 0, {sequence}, now());
        """
        for sequence, event_type in enumerate(types, start=1)
    )


# One user with three orders: one confirmed, one shipped and refunded in part, one rejected.
UNDAMAGED = {
    "users": f"""
        INSERT INTO user_account (id, email, name, locale, time_zone, roles, status, password_hash,
                                  created_at, updated_at, version)
        VALUES ('{USER}', 'ada@example.com', 'Ada', 'en', 'UTC', '{{customer}}', 'active', '-', now(), now(), 1);
        INSERT INTO credit_account (user_id, limit_cents, reserved_cents, used_cents, currency)
        VALUES ('{USER}', 1000, 300, 200, 'GBP');
        INSERT INTO credit_reservation (order_id, user_id, amount_cents, refunded_cents, currency, status, reason,
                                        created_at, updated_at)
        VALUES ('{CONFIRMED}', '{USER}', 300, 0, 'GBP', 'reserved', NULL, now(), now()),
               ('{SHIPPED}', '{USER}', 400, 200, 'GBP', 'used', NULL, now(), now()),
               ('{REJECTED}', '{USER}', 900, 0, 'GBP', 'refused', 'limit_exceeded', now(), now());
        INSERT INTO event_stream (topic, key, sequence, moved_on) VALUES ('users', '{USER}', 4, current_date);
        {_sent("users", USER, "user.created", "user.credit_reserved", "user.credit_reserved", "user.credit_refused")}
        INSERT INTO inbox_sequence (consumer, topic, key, sequence, moved_on)
        VALUES ('users.orders', 'orders', '{CONFIRMED}', 1, current_date);
    """,
    "orders": f"""
        INSERT INTO product (sku, name, description, price_cents, currency, stock, reserved, active, version)
        VALUES ('A', 'Lamp', '', 100, 'GBP', 10, 3, true, 1);
        INSERT INTO customer_order (id, number, user_id, status, currency, total_cents, refunded_cents, units,
                                    deadline, version, created_at, updated_at)
        VALUES ('{CONFIRMED}', 'O-1', '{USER}', 'confirmed', 'GBP', 300, 0, 3, now(), 1, now(), now()),
               ('{SHIPPED}', 'O-2', '{USER}', 'shipped', 'GBP', 400, 200, 4, now(), 1, now(), now()),
               ('{REJECTED}', 'O-3', '{USER}', 'rejected', 'GBP', 900, 0, 9, now(), 1, now(), now());
        INSERT INTO order_item (order_id, sku, position, name, unit_price_cents, quantity)
        VALUES ('{CONFIRMED}', 'A', 1, 'Lamp', 100, 3), ('{SHIPPED}', 'A', 1, 'Lamp', 100, 4),
               ('{REJECTED}', 'A', 1, 'Lamp', 100, 9);
        INSERT INTO order_timeline (order_id, at, status, actor, amount_cents)
        VALUES ('{CONFIRMED}', now(), 'pending', 'customer', NULL), ('{CONFIRMED}', now(), 'confirmed', 'system', NULL),
               ('{SHIPPED}', now(), 'pending', 'customer', NULL), ('{SHIPPED}', now(), 'confirmed', 'system', NULL),
               ('{SHIPPED}', now(), 'shipped', 'support', NULL), ('{SHIPPED}', now(), 'shipped', 'support', 200),
               ('{REJECTED}', now(), 'pending', 'customer', NULL), ('{REJECTED}', now(), 'rejected', 'system', NULL);
        INSERT INTO event_stream (topic, key, sequence, moved_on) VALUES ('orders', '{CONFIRMED}', 2, current_date);
        {_sent("orders", CONFIRMED, "order.created", "order.confirmed")}
        INSERT INTO inbox_sequence (consumer, topic, key, sequence, moved_on)
        VALUES ('orders.users', 'users', '{USER}', 4, current_date);
    """,
    "notifications": f"""
        INSERT INTO notification (id, user_id, event_id, event_type, category, title, data)
        SELECT gen_random_uuid(), '{USER}', gen_random_uuid(), type, category, '', data
        FROM (VALUES ('user.created', 'account', '{{}}'::jsonb),
                     ('order.confirmed', 'orders', jsonb_build_object('order_id', '{CONFIRMED}')),
                     ('order.confirmed', 'orders', jsonb_build_object('order_id', '{SHIPPED}')),
                     ('order.shipped', 'orders', jsonb_build_object('order_id', '{SHIPPED}')),
                     ('order.refunded', 'orders', jsonb_build_object('order_id', '{SHIPPED}')),
                     ('order.rejected', 'orders', jsonb_build_object('order_id', '{REJECTED}')))
             changes (type, category, data);
        INSERT INTO delivery (id, notification_id, channel, status, sent_at)
        SELECT gen_random_uuid(), id, channel, 'sent', now()
        FROM notification, (VALUES ('email'), ('in_app')) c (channel);
        INSERT INTO inbox_sequence (consumer, topic, key, sequence, moved_on)
        VALUES ('notifications.users', 'users', '{USER}', 1, current_date),
               ('notifications.orders', 'orders', '{CONFIRMED}', 2, current_date);
    """,
}


def unsent_event(sequence: int, event_type: str) -> str:
    """Return SQL that puts an event into the outbox."""
    return f"""
        INSERT INTO outbox (shard, event_id, topic, key, sequence, type, source, dataschema, occurred_at, payload)
        VALUES (0, gen_random_uuid(), 'orders', '{CONFIRMED}', {sequence}, '{event_type}', '-', '-', now(), '');
    """


_ONE_NOTIFICATION = "(SELECT id FROM notification WHERE event_type = 'order.rejected')"


@dataclass(frozen=True)
class Damage:
    """SQL that damages one database. `found`: the violated invariants, each with a part of its violations."""

    name: str
    service: str
    sql: str
    found: dict[str, str]


DAMAGES = (
    Damage(
        "over-reserved credit",
        "users",
        """ALTER TABLE credit_account DROP CONSTRAINT ck_credit_account_within_limit;
           UPDATE credit_account SET limit_cents = 400""",
        {
            "No user's reserved and used credit exceeds the limit": (
                f"user {USER}: 300 cents reserved and 200 used, but the limit is 400"
            )
        },
    ),
    Damage(
        "credit that no order holds",
        "users",
        "UPDATE credit_account SET reserved_cents = 301",
        {
            "Each user's credit is the sum of the orders that hold it": (
                f"user {USER}: 301 cents reserved and 200 used, but the orders add up to 300 and 200"
            )
        },
    ),
    Damage(
        "oversold stock",
        "orders",
        "ALTER TABLE product DROP CONSTRAINT ck_product_reserved_within_stock; UPDATE product SET stock = 2",
        {"No product has more units reserved than in stock": "product A: 3 reserved, but the stock is 2"},
    ),
    Damage(
        "stock that no order holds",
        "orders",
        "UPDATE product SET reserved = 4",
        {
            "Each product's reserved units are the sum of its open orders": (
                "product A: 4 reserved, but the open orders add up to 3"
            )
        },
    ),
    Damage(
        "a dead letter",
        "users",
        """INSERT INTO dead_letter (consumer, topic, partition, "offset", key, headers, payload, reason)
           VALUES ('users.orders', 'orders', 0, 1, 'k', '{}', '', 'rule_violated')""",
        {"No event is a dead letter": "users: users.orders could not apply an event of orders k (rule_violated)"},
    ),
    Damage(
        "an event that is missing between two others",
        "orders",
        unsent_event(4, "order.confirmed") + "UPDATE event_stream SET sequence = 4",
        {
            "No key has a gap in its events": (
                f"orders: orders {CONFIRMED}: 3 events up to sequence 4, but the last sequence is 4"
            ),
            "Every outbox is empty": "orders: order.confirmed of orders",
            "Every consumer has reached the last event of every key": (
                f"notifications.orders is at sequence 2 of orders {CONFIRMED}, but the last one it handles is 4"
            ),
        },
    ),
    Damage(
        "an event that is missing at the end",
        "orders",
        "UPDATE event_stream SET sequence = 3",
        {
            "No key has a gap in its events": (
                f"orders: orders {CONFIRMED}: 2 events up to sequence 2, but the last sequence is 3"
            )
        },
    ),
    Damage(
        "an event that a consumer has not reached",
        "notifications",
        "UPDATE inbox_sequence SET sequence = 1 WHERE topic = 'orders'",
        {
            "Every consumer has reached the last event of every key": (
                f"notifications.orders is at sequence 1 of orders {CONFIRMED}, but the last one it handles is 2"
            )
        },
    ),
    Damage(
        "an event that was never sent",
        "orders",
        unsent_event(3, "order.snapshot") + "UPDATE event_stream SET sequence = 3",
        {"Every outbox is empty": f"orders: order.snapshot of orders {CONFIRMED} is not sent yet"},
    ),
    Damage(
        "an order that is still pending",
        "orders",
        f"""UPDATE customer_order SET status = 'pending' WHERE id = '{CONFIRMED}';
            DELETE FROM order_timeline WHERE order_id = '{CONFIRMED}' AND status = 'confirmed'""",
        {
            "No order is pending": "order O-1 is pending",
            "Each change of an order has one notification": (
                f"order.confirmed notification for order {CONFIRMED} of user {USER}: found 1, expected 0"
            ),
        },
    ),
    Damage(
        "credit that is still reserved for a rejected order",
        "users",
        f"""UPDATE credit_reservation SET status = 'reserved', reason = NULL, amount_cents = 100
            WHERE order_id = '{REJECTED}';
            UPDATE credit_account SET reserved_cents = 400""",
        {
            "Orders and users agree on the credit of each order": (
                f"reserved credit of 100 cents for order {REJECTED}: found 1, expected 0"
            )
        },
    ),
    Damage(
        "a refund that released no credit",
        "orders",
        f"UPDATE customer_order SET refunded_cents = 400 WHERE id = '{SHIPPED}'",
        {
            "Orders and users agree on the credit of each order": (
                f"used credit of 0 cents for order {SHIPPED}: found 0, expected 1"
            )
        },
    ),
    Damage(
        "a second welcome",
        "notifications",
        "UPDATE notification SET event_type = 'user.created', category = 'account' WHERE event_type = 'order.rejected'",
        {
            "Each user has one welcome notification": f"welcome notification for user {USER}: found 2, expected 1",
            "Each change of an order has one notification": (
                f"order.rejected notification for order {REJECTED} of user {USER}: found 0, expected 1"
            ),
        },
    ),
    Damage(
        "a notification about a change that has one already",
        "notifications",
        "UPDATE notification SET event_type = 'order.shipped' WHERE event_type = 'order.refunded'",
        {
            "Each change of an order has one notification": (
                f"order.shipped notification for order {SHIPPED} of user {USER}: found 2, expected 1"
            )
        },
    ),
    Damage(
        "a mail that is not sent yet",
        "notifications",
        f"""UPDATE delivery SET status = 'queued', sent_at = NULL, first_due_at = now(), next_attempt_at = now()
            WHERE channel = 'email' AND notification_id = {_ONE_NOTIFICATION}""",
        {"Each notification was sent once per channel": "(order.rejected): email queued, in_app sent"},
    ),
    Damage(
        "a notification without a delivery on one channel",
        "notifications",
        f"DELETE FROM delivery WHERE channel = 'in_app' AND notification_id = {_ONE_NOTIFICATION}",
        {"Each notification was sent once per channel": "(order.rejected): email sent"},
    ),
)

"""A small system in which everything is in order, as rows, and what may be done to it that must be found."""

# ruff: noqa: S608 - the values are constants of this file

from dataclasses import dataclass

USER = "0199a6e2-0000-7000-8000-000000000001"
CONFIRMED, SHIPPED, REJECTED = (f"0199a6e2-0000-7000-8000-00000000001{digit}" for digit in "123")

# One user with an order that is confirmed, one that is shipped and half refunded, and one that was rejected.
WHOLE = {
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
        INSERT INTO event_stream (topic, key, sequence) VALUES ('users', '{USER}', 4);
        INSERT INTO inbox_sequence (consumer, topic, key, sequence) VALUES ('users.orders', 'orders', '{CONFIRMED}', 2);
    """,
    "orders": f"""
        INSERT INTO product (sku, name, description, price_cents, currency, stock, reserved, active, version)
        VALUES ('A', 'Lamp', '', 100, 'GBP', 10, 3, true, 1);
        INSERT INTO customer_order (id, number, user_id, status, currency, total_cents, refunded_cents, deadline,
                                    version, created_at, updated_at)
        VALUES ('{CONFIRMED}', 'O-1', '{USER}', 'confirmed', 'GBP', 300, 0, now(), 1, now(), now()),
               ('{SHIPPED}', 'O-2', '{USER}', 'shipped', 'GBP', 400, 200, now(), 1, now(), now()),
               ('{REJECTED}', 'O-3', '{USER}', 'rejected', 'GBP', 900, 0, now(), 1, now(), now());
        INSERT INTO order_item (order_id, sku, position, name, unit_price_cents, quantity)
        VALUES ('{CONFIRMED}', 'A', 1, 'Lamp', 100, 3), ('{SHIPPED}', 'A', 1, 'Lamp', 100, 4),
               ('{REJECTED}', 'A', 1, 'Lamp', 100, 9);
        INSERT INTO order_timeline (order_id, at, status, actor, amount_cents)
        VALUES ('{CONFIRMED}', now(), 'pending', 'customer', NULL), ('{CONFIRMED}', now(), 'confirmed', 'system', NULL),
               ('{SHIPPED}', now(), 'pending', 'customer', NULL), ('{SHIPPED}', now(), 'confirmed', 'system', NULL),
               ('{SHIPPED}', now(), 'shipped', 'support', NULL), ('{SHIPPED}', now(), 'shipped', 'support', 200),
               ('{REJECTED}', now(), 'pending', 'customer', NULL), ('{REJECTED}', now(), 'rejected', 'system', NULL);
        INSERT INTO event_stream (topic, key, sequence) VALUES ('orders', '{CONFIRMED}', 2);
        INSERT INTO inbox_sequence (consumer, topic, key, sequence) VALUES ('orders.users', 'users', '{USER}', 4);
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
             told (type, category, data);
        INSERT INTO delivery (id, notification_id, channel, status, sent_at)
        SELECT gen_random_uuid(), id, channel, 'sent', now()
        FROM notification, (VALUES ('email'), ('in_app')) c (channel);
        INSERT INTO inbox_sequence (consumer, topic, key, sequence)
        VALUES ('notifications.users', 'users', '{USER}', 4), ('notifications.orders', 'orders', '{CONFIRMED}', 2);
    """,
}


def waiting_event(sequence: int) -> str:
    return f"""
        INSERT INTO outbox (shard, event_id, topic, key, sequence, type, source, dataschema, occurred_at, payload)
        VALUES (0, gen_random_uuid(), 'orders', '{CONFIRMED}', {sequence}, 'order.confirmed', '-', '-', now(), '');
    """


_ONE_NOTICE = "(SELECT id FROM notification WHERE event_type = 'order.rejected')"


@dataclass(frozen=True)
class Damage:
    """SQL for one database, and what is found then: words of the violation by words of the invariant's name."""

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
        {"within every user's limit": f"user {USER}: 300 reserved and 200 used of 400"},
    ),
    Damage(
        "credit that no order holds",
        "users",
        "UPDATE credit_account SET reserved_cents = 301",
        {"the sum of the orders that hold it": "301 reserved and 200 used, by the orders 300 and 200"},
    ),
    Damage(
        "oversold stock",
        "orders",
        "ALTER TABLE product DROP CONSTRAINT ck_product_reserved_within_stock; UPDATE product SET stock = 2",
        {"0 <= reserved <= stock": "product A: 3 reserved of 2"},
    ),
    Damage(
        "stock that no order holds",
        "orders",
        "UPDATE product SET reserved = 4",
        {"sum of open orders": "product A: 4 reserved, by open orders 3"},
    ),
    Damage(
        "a parked event",
        "users",
        """INSERT INTO dead_letter (consumer, topic, partition, "offset", key, headers, payload, reason)
           VALUES ('users.orders', 'orders', 0, 1, 'k', '{}', '', 'refused')""",
        {"no event is parked": "users: users.orders parked an event of orders k: refused"},
    ),
    Damage(
        "an event that is missing between two others",
        "orders",
        waiting_event(1) + waiting_event(3) + "UPDATE event_stream SET sequence = 3",
        {
            "no gap": f"orders: orders {CONFIRMED}: 2 events up to 3, the stream is at 3",
            "outbox is empty": "orders: order.confirmed of orders",
            "taken by every reader": f"users is at 2 of 3 in orders {CONFIRMED}",
        },
    ),
    Damage(
        "an event that is missing at the end",
        "orders",
        "UPDATE event_stream SET sequence = 3",
        {"taken by every reader": f"notifications is at 2 of 3 in orders {CONFIRMED}"},
    ),
    Damage(
        "an event that was never sent",
        "orders",
        waiting_event(2),
        {"outbox is empty": f"orders: order.confirmed of orders {CONFIRMED} waits to be sent"},
    ),
    Damage(
        "an order that nobody decided",
        "orders",
        f"""UPDATE customer_order SET status = 'pending' WHERE id = '{CONFIRMED}';
            DELETE FROM order_timeline WHERE order_id = '{CONFIRMED}' AND status = 'confirmed'""",
        {
            "in an end state": "order O-1 is pending",
            "one notification for each": f"order {CONFIRMED}, user {USER}: order.confirmed: 1 instead of 0",
        },
    ),
    Damage(
        "a reservation that a rejected order left behind",
        "users",
        f"""UPDATE credit_reservation SET status = 'reserved', reason = NULL, amount_cents = 100
            WHERE order_id = '{REJECTED}';
            UPDATE credit_account SET reserved_cents = 400""",
        {"credit and orders agree": f"order {REJECTED}: reserved 100: 1 instead of 0"},
    ),
    Damage(
        "a refund that the credit never saw",
        "orders",
        f"UPDATE customer_order SET refunded_cents = 400 WHERE id = '{SHIPPED}'",
        {"credit and orders agree": f"order {SHIPPED}: used 0: 0 instead of 1"},
    ),
    Damage(
        "a second welcome",
        "notifications",
        "UPDATE notification SET event_type = 'user.created', category = 'account' WHERE event_type = 'order.rejected'",
        {
            "welcomed once": f"a welcome of user {USER}: 2 instead of 1",
            "one notification for each": f"order {REJECTED}, user {USER}: order.rejected: 0 instead of 1",
        },
    ),
    Damage(
        "a notification that told twice",
        "notifications",
        "UPDATE notification SET event_type = 'order.shipped' WHERE event_type = 'order.refunded'",
        {"one notification for each": f"order {SHIPPED}, user {USER}: order.shipped: 2 instead of 1"},
    ),
    Damage(
        "a mail that waits",
        "notifications",
        f"""UPDATE delivery SET status = 'queued', sent_at = NULL, next_attempt_at = now()
            WHERE channel = 'email' AND notification_id = {_ONE_NOTICE}""",
        {"went out once on every channel": "(order.rejected): email queued, in_app sent"},
    ),
    Damage(
        "a channel that was left out",
        "notifications",
        f"DELETE FROM delivery WHERE channel = 'in_app' AND notification_id = {_ONE_NOTICE}",
        {"went out once on every channel": "(order.rejected): email sent"},
    ),
)

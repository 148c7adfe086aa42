"""Damage that the audit must find in an undamaged system: each by its invariants, and by no other."""

# ruff: noqa: S608 - the values are constants of this file

from dataclasses import dataclass, field

from deploy.audit.findings import Invariant
from tests.deploy.audit.undamaged import CONFIRMED, ORDER_EVENTS, REJECTED, SHIPPED, THEN, USER, entry

VANISHED = "0199a6e2-0000-7000-8000-000000000019"
UNKNOWN_USER = "0199a6e2-0000-7000-8000-000000000009"


def unsent_event(sequence: int, event_type: str) -> str:
    """Return SQL that puts an event of the confirmed order into the outbox."""
    payload = ORDER_EVENTS[1][0].model_dump_json()
    return f"""
        INSERT INTO outbox (shard, event_id, topic, key, sequence, type, source, dataschema, occurred_at, payload)
        VALUES (0, uuidv7(), 'orders', '{CONFIRMED}', {sequence}, '{event_type}', 'urn:orderly:orders', '-', {THEN},
                convert_to('{payload}', 'UTF8'));
    """


def set_reserved(cents: int, *, before: int = 300) -> str:
    """Return SQL that sets the user's reserved credit, with an entry of the ledger."""
    changed = f"UPDATE credit_account SET reserved_cents = {cents} WHERE user_id = '{USER}';"
    return changed + entry("corrected", reserved_delta=cents - before, balances=(cents, 200, 1000))


_REJECTION = "(SELECT id FROM notification WHERE event_type = 'order.rejected')"


@dataclass(frozen=True)
class Damage:
    """SQL that damages one database. `found`: the violated invariants, each with a part of its violations."""

    name: str
    service: str
    sql: str
    found: dict[Invariant, str]
    in_production: dict[Invariant, str] | None = field(default=None)
    """Violations that are found while the system works, if they differ from those at rest."""


DAMAGES = (
    Damage(
        "over-reserved credit",
        "users",
        """ALTER TABLE credit_account DROP CONSTRAINT ck_credit_account_within_limit;
           UPDATE credit_account SET limit_cents = 400""",
        {
            Invariant.CREDIT_WITHIN_LIMIT: f"user {USER}: 300 cents reserved and 200 used, but the limit is 400",
            Invariant.CREDIT_IS_SUM_OF_ENTRIES: "a limit of 400, but the ledger's entries add up to 300, 200 and 1000",
        },
    ),
    Damage(
        "credit that no order holds",
        "users",
        set_reserved(301),
        {
            Invariant.CREDIT_IS_SUM_OF_ORDERS: (
                f"user {USER}: 301 cents reserved and 200 used, but the orders add up to 300 and 200"
            )
        },
    ),
    Damage(
        "credit that was changed without an entry",
        "users",
        "UPDATE credit_account SET limit_cents = 2000",
        {Invariant.CREDIT_IS_SUM_OF_ENTRIES: "a limit of 2000, but the ledger's entries add up to 300, 200 and 1000"},
    ),
    Damage(
        "an entry that was deleted from the middle of a ledger",
        "users",
        f"""ALTER TABLE credit_entry DISABLE TRIGGER USER;
            DELETE FROM credit_entry WHERE order_id = '{SHIPPED}' AND kind = 'used';
            ALTER TABLE credit_entry ENABLE TRIGGER USER""",
        {Invariant.CREDIT_IS_SUM_OF_ENTRIES: "a limit of 1000, but the ledger's entries add up to 700, -200 and 1000"},
    ),
    Damage(
        "an entry with other balances than its account",
        "users",
        """ALTER TABLE credit_entry DISABLE TRIGGER USER;
           UPDATE credit_entry SET used_cents = 201 WHERE kind = 'refunded';
           ALTER TABLE credit_entry ENABLE TRIGGER USER""",
        {Invariant.CREDIT_IS_SUM_OF_ENTRIES: "a limit of 1000, but the ledger's entries end with 300, 201 and 1000"},
    ),
    Damage(
        "oversold stock",
        "orders",
        "ALTER TABLE product DROP CONSTRAINT ck_product_reserved_within_stock; UPDATE product SET stock = 2",
        {Invariant.STOCK_NOT_OVERSOLD: "product A: 3 reserved, but the stock is 2"},
    ),
    Damage(
        "stock that no order holds",
        "orders",
        "UPDATE product SET reserved = 4",
        {Invariant.STOCK_IS_SUM_OF_ORDERS: "product A: 4 reserved, but the open orders add up to 3"},
    ),
    Damage(
        "a dead letter",
        "users",
        """INSERT INTO dead_letter (consumer, topic, partition, "offset", key, headers, payload, reason)
           VALUES ('users.orders', 'orders', 0, 1, 'k', '{}', '', 'rule_violated')""",
        {Invariant.NO_DEAD_LETTER: "users: users.orders could not apply an event of orders k (rule_violated)"},
    ),
    Damage(
        "an event that is missing between two others",
        "orders",
        unsent_event(4, "order.confirmed") + "UPDATE event_stream SET sequence = 4",
        {
            Invariant.NO_GAP: f"orders: orders {CONFIRMED}: 3 events up to sequence 4, but the last sequence is 4",
            Invariant.OUTBOX_EMPTY: "orders: order.confirmed of orders",
            Invariant.POSITION_REACHED: (
                f"notifications.orders is at sequence 2 of orders {CONFIRMED}, but the last one it handles is 4"
            ),
        },
    ),
    Damage(
        "an event that is missing at the end",
        "orders",
        "UPDATE event_stream SET sequence = 3",
        {Invariant.NO_GAP: f"orders: orders {CONFIRMED}: 2 events up to sequence 2, but the last sequence is 3"},
    ),
    Damage(
        "a key without any event",
        "orders",
        "INSERT INTO event_stream (topic, key, sequence, moved_on) VALUES ('products', 'A', 2, current_date)",
        {Invariant.NO_GAP: "orders: products A: no event is stored, but sequence 2 was recorded on"},
    ),
    Damage(
        "a position that is set back",
        "notifications",
        "UPDATE inbox_sequence SET sequence = 1 WHERE topic = 'orders'",
        {
            Invariant.POSITION_REACHED: (
                f"notifications.orders is at sequence 1 of orders {CONFIRMED}, but the last one it handles is 2"
            )
        },
    ),
    Damage(
        "an event that a consumer has not applied",
        "users",
        "DELETE FROM inbox",
        {
            Invariant.EVENT_APPLIED: (
                f"orders {CONFIRMED}, sequence 1 (order.created, {ORDER_EVENTS[0][1]}) was not applied by users.orders "
                "and is no dead letter"
            )
        },
    ),
    Damage(
        "an event that was never sent",
        "orders",
        unsent_event(3, "product.updated") + "UPDATE event_stream SET sequence = 3",
        {Invariant.OUTBOX_EMPTY: f"orders: product.updated of orders {CONFIRMED} is not sent yet"},
    ),
    Damage(
        "an order that is still pending",
        "orders",
        f"""UPDATE customer_order SET status = 'pending' WHERE id = '{CONFIRMED}';
            DELETE FROM order_timeline WHERE order_id = '{CONFIRMED}' AND status = 'confirmed'""",
        {
            Invariant.NO_PENDING_ORDER: f"order {CONFIRMED} (O-1) is pending",
            Invariant.ONE_NOTIFICATION_PER_CHANGE: (f"order {CONFIRMED}: 1 order.confirmed notifications, expected 0"),
        },
    ),
    Damage(
        "credit that is still reserved for a rejected order",
        "users",
        f"""UPDATE credit_reservation SET status = 'reserved', reason = NULL, amount_cents = 100
            WHERE order_id = '{REJECTED}';
            {set_reserved(400)}""",
        {
            Invariant.CREDIT_AGREED: (
                f"order {REJECTED} is rejected and holds no credit, but in users it holds reserved credit of 100 cents"
            )
        },
    ),
    Damage(
        "a refund that released no credit",
        "orders",
        f"UPDATE customer_order SET refunded_cents = 400 WHERE id = '{SHIPPED}'",
        {
            Invariant.CREDIT_AGREED: (
                f"order {SHIPPED} is shipped and holds used credit of 0 cents, but in users it holds used credit of 200"
            )
        },
    ),
    Damage(
        "credit of an order that orders does not know",
        "users",
        f"""INSERT INTO credit_reservation (order_id, user_id, amount_cents, refunded_cents, currency, status,
                                            created_at, updated_at)
            VALUES ('{VANISHED}', '{USER}', 50, 0, 'GBP', 'reserved', {THEN}, {THEN});
            {set_reserved(350)}""",
        {
            Invariant.CREDIT_AGREED: (
                f"order {VANISHED} is unknown to orders and holds no credit, but in users it holds reserved credit"
            )
        },
    ),
    Damage(
        "an order whose credit users does not know",
        "users",
        f"""DELETE FROM credit_reservation WHERE order_id = '{CONFIRMED}';
            {set_reserved(0)}""",
        {
            Invariant.CREDIT_AGREED: (
                f"order {CONFIRMED} is confirmed and holds reserved credit of 300 cents, but in users it holds no"
            )
        },
    ),
    Damage(
        "a second welcome",
        "notifications",
        "UPDATE notification SET event_type = 'user.created', category = 'account' WHERE event_type = 'order.rejected'",
        {
            Invariant.ONE_WELCOME: f"user {USER}: 2 welcome notifications, expected 1",
            Invariant.ONE_NOTIFICATION_PER_CHANGE: f"order {REJECTED}: 0 order.rejected notifications, expected 1",
        },
    ),
    Damage(
        "a notification about a change that has one already",
        "notifications",
        """UPDATE notification SET event_type = 'order.refunded', data = data || '{"refunded_cents": 1}'
           WHERE event_type = 'order.shipped'""",
        {
            Invariant.ONE_NOTIFICATION_PER_CHANGE: f"order {SHIPPED}: 2 order.refunded notifications, expected 1",
        },
    ),
    Damage(
        "a notification of an order that orders does not know",
        "notifications",
        f"""INSERT INTO notification (id, user_id, event_id, event_type, category, title, data, created_at)
            VALUES (uuidv7(), '{USER}', uuidv7(), 'order.confirmed', 'orders', '',
                    jsonb_build_object('order_id', '{VANISHED}'), {THEN});
            INSERT INTO delivery (id, notification_id, channel, status, sent_at)
            SELECT uuidv7(), n.id, c.channel, 'sent', {THEN}
            FROM notification n, (VALUES ('email'), ('in_app')) c (channel)
            WHERE data->>'order_id' = '{VANISHED}'""",
        {
            Invariant.NOTIFICATION_HAS_SUBJECT: (
                f"(order.confirmed) is about order {VANISHED}, which is unknown to orders"
            )
        },
    ),
    Damage(
        "a mail that is not sent yet",
        "notifications",
        f"""UPDATE delivery SET status = 'queued', sent_at = NULL, first_due_at = {THEN}, next_attempt_at = {THEN}
            WHERE channel = 'email' AND notification_id = {_REJECTION}""",
        {Invariant.NOTIFICATION_SENT: "(order.rejected): email queued, in_app sent"},
        in_production={Invariant.NO_OVERDUE_DELIVERY: "(email) is queued since "},
    ),
    Damage(
        "a notification without a delivery on one channel",
        "notifications",
        f"DELETE FROM delivery WHERE channel = 'in_app' AND notification_id = {_REJECTION}",
        {Invariant.NOTIFICATION_SENT: "(order.rejected): email sent"},
    ),
    Damage(
        "a mail to a recipient who is not known yet",
        "notifications",
        f"""UPDATE delivery SET status = 'deferred', sent_at = NULL
            WHERE channel = 'email' AND notification_id = {_REJECTION}""",
        {Invariant.NOTIFICATION_SENT: "(order.rejected): email deferred, in_app sent"},
        in_production={Invariant.NO_OVERDUE_DELIVERY: "(email) is deferred since "},
    ),
    Damage(
        "a user's data that no job has opened",
        "orders",
        f"""INSERT INTO sealed_contact (user_id, sequence, personal, locale, time_zone, email_verified, received_at)
            VALUES ('{USER}', 1, '-', 'en', 'UTC', true, {THEN})""",
        {Invariant.CONTACTS_OPENED: f"orders: the data of user {USER} are sealed since "},
    ),
    Damage(
        "a job that nobody has begun",
        "orders",
        f"""INSERT INTO pgqueuer (priority, status, entrypoint, execute_after)
            VALUES (0, 'queued', 'operation', {THEN})""",
        {},
        in_production={Invariant.NO_OVERDUE_JOB: "orders: the job operation "},
    ),
)

"""A long history: orders of the past year, with everything that each service keeps of them, and no violation."""

# ruff: noqa: S608 - the values are constants of this file

from deploy.audit.databases import SERVICES, Databases

ORDERS_PER_USER = 10
SECONDS_BETWEEN_ORDERS = 30
PRODUCTS = 1_000


def _id(number: str, *, kind: int) -> str:
    """Return SQL for an id that is the same in all databases, and as old as the order of that number."""
    milliseconds = f"$3::bigint - {number} * {SECONDS_BETWEEN_ORDERS * 1000}"
    return f"(lpad(to_hex({milliseconds}), 12, '0') || '7000800{kind}' || lpad(to_hex({number}), 12, '0'))::uuid"


ORDER = _id("n", kind=0)
USER = _id(f"(n / {ORDERS_PER_USER})", kind=1)
NOTIFICATION = _id("n", kind=2)
_AT = f"to_timestamp($3::bigint / 1000 - n * {SECONDS_BETWEEN_ORDERS})"
_NUMBERS = "generate_series($1::bigint, $2::bigint - 1) AS n"
_USERS = f"(SELECT DISTINCT ON (n / {ORDERS_PER_USER}) n FROM {_NUMBERS} ORDER BY n / {ORDERS_PER_USER}, n) AS u"
# $1 and $2: the first number and the one after the last; $3: the time of number 0 in milliseconds; $4: the status.
_STATEMENTS = {
    "users": (
        f"""INSERT INTO user_account (id, email, name, locale, time_zone, roles, status, password_hash, created_at,
                                      updated_at, version)
            SELECT {USER}, n || '@example.com', '-', 'en', 'UTC', '{{customer}}', 'active', '-',
                   now() - interval '2 years', {_AT}, 1 FROM {_USERS} WHERE $4::text IS NOT NULL""",
        f"""INSERT INTO credit_account (user_id, limit_cents, reserved_cents, used_cents, currency)
            SELECT {USER}, 10000, CASE $4::text WHEN 'confirmed' THEN cents ELSE 0 END,
                   CASE $4::text WHEN 'delivered' THEN cents ELSE 0 END, 'GBP'
            FROM (SELECT min(n) AS n, 100 * count(*) AS cents FROM {_NUMBERS} GROUP BY n / {ORDERS_PER_USER}) AS u""",
        f"""INSERT INTO credit_entry (user_id, kind, reserved_delta_cents, used_delta_cents, limit_delta_cents,
                                      reserved_cents, used_cents, limit_cents, created_at)
            SELECT {USER}, 'opened', 0, 0, 10000, 0, 0, 10000, {_AT} FROM {_USERS} WHERE $4::text IS NOT NULL""",
        f"""INSERT INTO credit_entry (user_id, order_id, kind, reserved_delta_cents, used_delta_cents,
                                      limit_delta_cents, reserved_cents, used_cents, limit_cents, created_at)
            SELECT {USER}, {ORDER}, 'corrected', 100 * reserved, 100 * used, 0, 100 * reserved * number,
                   100 * used * number, 10000, {_AT}
            FROM (SELECT n, row_number() OVER (PARTITION BY n / {ORDERS_PER_USER} ORDER BY n) AS number,
                         ($4::text = 'confirmed')::int AS reserved, ($4::text = 'delivered')::int AS used
                  FROM {_NUMBERS}) AS o ORDER BY n""",
        f"""INSERT INTO credit_reservation (order_id, user_id, amount_cents, refunded_cents, currency, status,
                                            created_at, updated_at)
            SELECT {ORDER}, {USER}, 100, 0, 'GBP', CASE $4::text WHEN 'delivered' THEN 'used' ELSE 'reserved' END,
                   {_AT}, {_AT} FROM {_NUMBERS}""",
    ),
    "orders": (
        f"""INSERT INTO product (sku, name, description, price_cents, currency, stock, reserved, active, version)
            SELECT 'H-' || m, '-', '', 100, 'GBP', 1000000, 0, true, 1 FROM generate_series(0, {PRODUCTS} - 1) AS m
            WHERE $1::bigint >= 0 AND $2::bigint > 0 AND $3::bigint > 0 AND $4::text IS NOT NULL
            ON CONFLICT DO NOTHING""",
        f"""INSERT INTO customer_order (id, number, user_id, status, currency, total_cents, refunded_cents, units,
                                        deadline, version, created_at, updated_at)
            SELECT {ORDER}, 'H-' || n, {USER}, $4::text, 'GBP', 100, 0, 1, {_AT}, 1, {_AT}, {_AT} FROM {_NUMBERS}""",
        f"""INSERT INTO order_item (order_id, sku, position, name, unit_price_cents, quantity)
            SELECT {ORDER}, 'H-' || n % {PRODUCTS}, 1, '-', 100, 1 FROM {_NUMBERS} WHERE $4::text IS NOT NULL""",
        f"""INSERT INTO order_timeline (order_id, at, status, actor)
            SELECT {ORDER}, {_AT}, s, 'system' FROM {_NUMBERS}, unnest(ARRAY['pending', $4::text]) AS s""",
        f"""UPDATE product p SET reserved = p.reserved + c.units
            FROM (SELECT 'H-' || n % {PRODUCTS} AS sku, count(*) AS units FROM {_NUMBERS} GROUP BY 1) AS c
            WHERE p.sku = c.sku AND $4::text = 'confirmed' AND $3::bigint > 0""",
    ),
    "notifications": (
        f"""INSERT INTO notification (id, user_id, event_id, event_type, category, title, data, created_at)
            SELECT {NOTIFICATION}, {USER}, uuidv7(), 'order.' || $4::text, 'orders', '',
                   jsonb_build_object('order_id', {ORDER}), {_AT} FROM {_NUMBERS}""",
        f"""INSERT INTO delivery (id, notification_id, channel, status, sent_at)
            SELECT uuidv7(), {NOTIFICATION}, c, 'sent', {_AT}
            FROM {_NUMBERS}, unnest(ARRAY['email', 'in_app']) AS c WHERE $4::text IS NOT NULL""",
        f"""INSERT INTO event_stream (topic, key, sequence, moved_on)
            SELECT 'notifications', {NOTIFICATION}::text, 1, current_date - (n % 5)::int FROM {_NUMBERS}
            WHERE $4::text IS NOT NULL""",
        f"""INSERT INTO outbox_sent (day, id, event_id, topic, key, sequence, type, source, dataschema, occurred_at,
                                     payload, shard, partition, "offset", sent_at)
            SELECT (now() AT TIME ZONE 'UTC')::date - (n % 5)::int, 1000 + n, uuidv7(), 'notifications',
                   {NOTIFICATION}::text, 1, 'notification.sent', '-', '-', now(), '', 0, 0, n,
                   now() - interval '1 day' * (n % 5) - interval '1 hour'
            FROM {_NUMBERS} WHERE $4::text IS NOT NULL""",
    ),
}
# The last change of some orders, as the relay and the consumer leave it: $1 and $2 as above; $4: the id of the first.
_DELIVERED_NOW = f"""
    INSERT INTO outbox_sent (day, id, event_id, topic, key, sequence, type, source, dataschema, occurred_at, payload,
                             shard, partition, "offset", sent_at)
    SELECT (now() AT TIME ZONE 'UTC')::date, $4::bigint + n, uuidv7(), 'orders', {ORDER}::text, 1, 'order.unknown',
           '-', '-', now(), '', 0, 0, n, now() - interval '1 hour' FROM {_NUMBERS}
"""
_STREAMS_NOW = f"""
    INSERT INTO event_stream (topic, key, sequence, moved_on)
    SELECT 'orders', {ORDER}::text, 1, current_date FROM {_NUMBERS} WHERE $3::bigint > 0
"""


async def add_orders(databases: Databases, first: int, end: int, *, status: str, base_ms: int) -> None:
    """Add the orders of these numbers, in this status, and update the statistics that plans are made of."""
    for service in SERVICES:
        for statement in _STATEMENTS[service]:
            await databases[service].execute(statement, first, end, base_ms, status)
        await databases[service].execute("VACUUM ANALYZE")


async def touch_orders(databases: Databases, first: int, end: int, *, base_ms: int, first_id: int) -> None:
    """Send an event of each of these orders that no service consumes."""
    await databases["orders"].execute(_DELIVERED_NOW, first, end, base_ms, first_id)
    await databases["orders"].execute(_STREAMS_NOW, first, end, base_ms)

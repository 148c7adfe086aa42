"""Rows for each service's own tables, as if from months of use: users, completed orders and their notifications."""

from tests.harness.table_rows import MESSAGING_FILLS, fill

# `$1` and `n` as in `table_rows`. Every invariant holds: no order that reserves stock or credit is still open.
USERS_FILLS = {
    "user_account": """
        INSERT INTO user_account (
            id, email, name, locale, time_zone, roles, status, password_hash, second_factor, personal_key, created_at,
            updated_at, version
        )
        SELECT uuidv7(at - now()), 'filled-' || n || '@example.com', 'Filled Person ' || n, 'en', 'UTC',
               ARRAY['customer'], 'active',
               '$argon2id$v=19$m=65536,t=3,p=4$ZmlsbGVkZmlsbGVkZmls$ZmlsbGVkZmlsbGVkZmlsbGVkZmlsbGVkZmlsbGVkZmk', true,
               sha256(int8send(n)), at, at, 1
        FROM (
            SELECT n, now() - interval '365 days' * (1 - n::float8 / $1) AS at FROM generate_series(1, $1::bigint) AS n
        ) AS past
    """,
    "totp": """
        INSERT INTO totp (user_id, encrypted_secret, created_at, confirmed_at, wrong_codes)
        SELECT id, 'filled', created_at, created_at, 0 FROM user_account WHERE email LIKE 'filled-%'
    """,
    "recovery_code": """
        INSERT INTO recovery_code (user_id, code_hash)
        SELECT id, sha256(uuid_send(id)) FROM user_account WHERE email LIKE 'filled-%'
    """,
    "passkey_user": """
        INSERT INTO passkey_user (user_id, handle)
        SELECT id, sha512(uuid_send(id)) FROM user_account WHERE email LIKE 'filled-%'
    """,
    "passkey": """
        INSERT INTO passkey (
            id, user_id, credential_id, public_key, sign_count, transports, authenticator_id, backup_eligible,
            backed_up, name, created_at
        )
        SELECT id, id, sha256(uuid_send(id)), sha256(uuid_send(id)), 0, ARRAY['internal'], id, true, true, 'Phone',
               created_at
        FROM user_account WHERE email LIKE 'filled-%'
    """,
    "erasure": """
        INSERT INTO erasure (id, user_id, requested_at, requested_by, asked, last_asked_at, completed_at)
        SELECT gen_random_uuid(), id, at, 'filled', 1, at, at
        FROM (
            SELECT gen_random_uuid() AS id, now() - interval '365 days' * (n::float8 / $1) AS at
            FROM generate_series(1, $1::bigint) AS n
        ) AS past
    """,
    "erasure_acknowledgement": """
        INSERT INTO erasure_acknowledgement (erasure_id, service, acknowledged_at)
        SELECT id, 'orders', completed_at FROM erasure WHERE requested_by = 'filled'
    """,
    # Valid sessions and tokens: the purge deletes expired ones.
    "user_session": """
        INSERT INTO user_session (
            id, user_id, address, user_agent, device, amr, authenticated_at, created_at, last_used_at, expires_at,
            ends_at
        )
        SELECT uuidv7(-age), id, '203.0.113.9', 'filled/1.0', 'Firefox on Linux', ARRAY['pwd'], now() - age,
               now() - age, now() - age, now() - age + interval '30 days', now() - age + interval '90 days'
        FROM (SELECT id, interval '25 days' * random() AS age FROM user_account WHERE email LIKE 'filled-%') AS people
    """,
    "refresh_token": """
        INSERT INTO refresh_token (token_hash, session_id, expires_at)
        SELECT sha256(uuid_send(id)), id, expires_at FROM user_session WHERE user_agent = 'filled/1.0'
    """,
    "known_device": """
        INSERT INTO known_device (id, user_id, token_hash, created_at, last_seen_at, expires_at)
        SELECT uuidv7(created_at - now()), user_id, sha256(uuid_send(id)), created_at, created_at,
               created_at + interval '180 days'
        FROM user_session WHERE user_agent = 'filled/1.0'
    """,
    "security_event": """
        INSERT INTO security_event (user_id, kind, actor, address, user_agent, details, occurred_at)
        SELECT user_id, 'signed_in', user_id::text, address, user_agent, jsonb_build_object('methods', amr), created_at
        FROM user_session WHERE user_agent = 'filled/1.0'
    """,
    "credit_reservation": """
        INSERT INTO credit_reservation (
            order_id, user_id, amount_cents, refunded_cents, currency, status, reason, created_at, updated_at
        )
        SELECT uuidv7(created_at - now()), id, 5000, 0, 'GBP', status,
               CASE status WHEN 'refused' THEN 'limit_exceeded' END, created_at, created_at
        FROM (
            SELECT id, created_at,
                   (ARRAY['used', 'released', 'refused'])[1 + row_number() OVER (ORDER BY id) % 3] AS status
            FROM user_account WHERE email LIKE 'filled-%'
        ) AS people
    """,
    "credit_account": """
        INSERT INTO credit_account (user_id, limit_cents, reserved_cents, used_cents, currency)
        SELECT a.id, 100000, 0, CASE r.status WHEN 'used' THEN r.amount_cents ELSE 0 END, 'GBP'
        FROM user_account a JOIN credit_reservation r ON r.user_id = a.id WHERE a.email LIKE 'filled-%'
    """,
    # The account's opening, and the change of a user whose order was shipped, in one entry.
    "credit_entry": """
        INSERT INTO credit_entry (
            user_id, order_id, kind, reserved_delta_cents, used_delta_cents, limit_delta_cents, reserved_cents,
            used_cents, limit_cents, created_at
        )
        SELECT a.user_id, r.order_id, 'corrected', 0, a.used_cents, a.limit_cents, 0, a.used_cents, a.limit_cents,
               r.created_at
        FROM credit_account a JOIN credit_reservation r USING (user_id) JOIN user_account u ON u.id = a.user_id
        WHERE u.email LIKE 'filled-%'
    """,
    "data_export": """
        INSERT INTO data_export (id, user_id, status, missing, requested_at, requests, ready_at, expires_at)
        SELECT uuidv7(created_at - now()), id, 'ready', '{}', created_at, 1, created_at, created_at + interval '7 days'
        FROM user_account WHERE email LIKE 'filled-%'
    """,
    "data_export_part": """
        INSERT INTO data_export_part (export_id, service, attempt_id, part, personal)
        SELECT id, 'users', id, 1, repeat('filled', 100) FROM data_export
    """,
}

ORDERS_FILLS = {
    "product": """
        INSERT INTO product (sku, name, description, price_cents, currency, stock, reserved, active, version)
        SELECT 'FILLED-' || lpad(n::text, 9, '0'),
               (ARRAY['Red', 'Blue', 'Green', 'Small', 'Large'])[1 + n % 5] || ' filled ' ||
               (ARRAY['lantern', 'cake stand', 'jigsaw', 'bunting', 'mug', 'wrap', 'sign'])[1 + n % 7] || ' ' || n,
               'Something to have been sold.', 100 + n % 4900, 'GBP', 1000000, 0, true, 1
        FROM generate_series(1, $1::bigint) AS n
    """,
    "customer": """
        INSERT INTO customer (user_id, email, name, sequence)
        SELECT uuidv7(interval '-365 days' * (1 - n::float8 / $1)), 'filled-' || n || '@example.com',
               'Filled Person ' || n, 1
        FROM generate_series(1, $1::bigint) AS n
    """,
    # The numbers contain a zero, unlike real ones, so that they never collide; they are as scattered as real ones.
    "customer_order": """
        INSERT INTO customer_order (
            id, number, user_id, status, currency, total_cents, refunded_cents, units, deadline, version,
            created_at, updated_at
        )
        SELECT uuidv7(at - now()), 'O-0' || upper(to_hex(n * 10661009860 % 17249876309)), user_id, status, 'GBP', 5000,
               CASE status WHEN 'refunded' THEN 5000 ELSE 0 END, 2, at + interval '2 minutes', 2, at, at
        FROM (
            SELECT n, user_id, now() - interval '365 days' * (1 - n::float8 / $1) AS at,
                   (ARRAY['delivered', 'shipped', 'rejected', 'cancelled', 'refunded'])[1 + n % 5] AS status
            FROM (SELECT user_id, row_number() OVER (ORDER BY md5(user_id::text)) AS n FROM customer) AS people
            WHERE n <= $1
        ) AS past
    """,
    "order_item": """
        INSERT INTO order_item (order_id, sku, position, name, unit_price_cents, quantity)
        SELECT o.id, p.sku, 1, p.name, 2500, 2
        FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM customer_order WHERE number LIKE 'O-0%') AS o
        JOIN (SELECT sku, name, row_number() OVER (ORDER BY md5(sku)) AS n FROM product WHERE sku LIKE 'FILLED-%') AS p
        USING (n)
    """,
    "order_timeline": """
        INSERT INTO order_timeline (order_id, at, status, actor, actor_id)
        SELECT id, created_at, 'pending', 'customer', user_id FROM customer_order WHERE number LIKE 'O-0%'
        UNION ALL
        SELECT id, created_at + interval '1 second', status, 'system', NULL FROM customer_order WHERE number LIKE 'O-0%'
    """,
}

NOTIFICATIONS_FILLS = {
    "recipient": """
        INSERT INTO recipient (user_id, email, name, locale, time_zone, email_verified, sequence)
        SELECT uuidv7(interval '-365 days' * (1 - n::float8 / $1)), 'filled-' || n || '@example.com',
               'Filled Person ' || n, 'en', 'UTC', true, 1
        FROM generate_series(1, $1::bigint) AS n
    """,
    "notification": """
        INSERT INTO notification (id, user_id, event_id, event_type, category, title, data, created_at, read_at)
        SELECT uuidv7(at - now()), user_id, uuidv7(at - now()), 'order.confirmed', 'orders', 'Your order is confirmed',
               jsonb_build_object('order_id', uuidv7(at - now()), 'number', 'O-ZZEAKPZ4', 'total_cents', 10710),
               at, CASE n % 2 WHEN 0 THEN at + interval '1 hour' END
        FROM (
            SELECT user_id, n, now() - interval '365 days' * (1 - n::float8 / $1) AS at
            FROM (SELECT user_id, row_number() OVER (ORDER BY md5(user_id::text)) AS n FROM recipient) AS people
            WHERE n <= $1
        ) AS past
    """,
    "delivery": """
        INSERT INTO delivery (
            id, notification_id, channel, status, attempts, provider, provider_message_id, sent_at
        )
        SELECT uuidv7(created_at - now()), id, channel, 'sent', attempts, provider, message_id,
               created_at + interval '1 second'
        FROM notification
        CROSS JOIN (
            VALUES ('in_app', 0, NULL, NULL), ('email', 1, 'smtp', 'filled')
        ) AS channels (channel, attempts, provider, message_id)
        WHERE title = 'Your order is confirmed'
    """,
}

# Of users whose accounts are gone from everywhere but the receipts.
REPLICA_FILLS = {
    "erased_user": """
        INSERT INTO erased_user (user_id, request_id, requested_at, erased_at)
        SELECT gen_random_uuid(), gen_random_uuid(), at, at
        FROM (
            SELECT now() - interval '365 days' * (n::float8 / $1) AS at FROM generate_series(1, $1::bigint) AS n
        ) AS past
    """,
}
SERVICE_FILLS = {
    "users": USERS_FILLS,
    "orders": ORDERS_FILLS | REPLICA_FILLS,
    "notifications": NOTIFICATIONS_FILLS | REPLICA_FILLS,
}


async def fill_tables(service: str, url: str, *, rows: int) -> None:
    """Add at least `rows` rows to every table of a service except the outbox: messaging tables, then its own.

    `url`: the URL of a migrated database for SQLAlchemy, as its owner.
    """
    await fill(url, MESSAGING_FILLS | SERVICE_FILLS[service], rows=rows)

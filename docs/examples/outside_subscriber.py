# /// script
# dependencies = ["aiokafka", "joserfc"]
# ///
"""An outside subscriber: writes each confirmed order into its own database exactly once, or each user's contact.

Usage: python outside_subscriber.py 127.0.0.1:19092 orders.sqlite3 [TOPIC]

For a secured cluster, set KAFKA_USERNAME, KAFKA_PASSWORD and KAFKA_CA_FILE: TLS with SCRAM-SHA-512. Contacts are on the
topic `users`, sealed: set USERS_URL and USERS_TOKEN.
"""

import asyncio
import json
import os
import sqlite3
import ssl
import sys
import urllib.request
from base64 import urlsafe_b64decode

from aiokafka import AIOKafkaConsumer


async def follow(servers: str, path: str, topic: str = "orders") -> None:
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE IF NOT EXISTS confirmed (event_id PRIMARY KEY, number, total_cents)")
    database.execute("CREATE TABLE IF NOT EXISTS contact (user_id PRIMARY KEY, email, sequence)")
    options = {"enable_auto_commit": False, "auto_offset_reset": "earliest", "isolation_level": "read_committed"}
    group = f"outside-subscriber.{topic}"
    async with AIOKafkaConsumer(topic, bootstrap_servers=servers, group_id=group, **options, **security()) as consumer:
        async for record in consumer:
            headers = dict(record.headers)  # anybody may have written them: compare bytes, and check the source
            match headers.get("ce_source"), headers.get("ce_type"):
                case b"urn:orderly:orders", b"order.confirmed":
                    confirm(database, headers["ce_id"].decode(), json.loads(record.value))
                case b"urn:orderly:users", b"user.created" | b"user.updated":
                    replace_contact(database, int(headers["ce_sequence"]), json.loads(record.value))
            await consumer.commit()  # after the effect: Kafka sends an uncommitted event again


def confirm(database, event_id, order):
    row = (event_id, order["number"], order["total_cents"])
    with database:  # the event id is the primary key, so a repeated event inserts nothing
        is_new = database.execute("INSERT OR IGNORE INTO confirmed VALUES (?, ?, ?)", row).rowcount == 1
    if is_new:
        print(f"{order['number']} confirmed: {order['total_cents'] / 100:.2f} {order['currency']}", flush=True)


def replace_contact(database, sequence, user):
    contact = opened(user["user_id"], user["personal"])
    with database:
        if contact is None:  # the user was erased: delete what is stored, too
            database.execute("DELETE FROM contact WHERE user_id = ?", (user["user_id"],))
        else:  # an older event, which may come late, replaces nothing
            database.execute(
                "INSERT INTO contact VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET email = excluded.email,"
                " sequence = excluded.sequence WHERE excluded.sequence > contact.sequence",
                (user["user_id"], contact["email"], sequence),
            )
    print(f"{user['user_id']}: {'erased' if contact is None else 'replaced'}", flush=True)


def opened(user_id, sealed):
    """Return what is sealed, or None if the user was erased. Keys may be cached, for 60 seconds at most."""
    from joserfc import jwe  # noqa: PLC0415 - only this needs the library
    from joserfc.jwk import OctKey  # noqa: PLC0415

    request = urllib.request.Request(  # noqa: S310 - your own URL
        f"{os.environ['USERS_URL']}/internal/personal-keys",
        data=json.dumps({"user_ids": [user_id]}).encode(),
        headers={"Authorization": f"Bearer {os.environ['USERS_TOKEN']}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
        key = json.load(response)["keys"].get(user_id)
    if key is None:
        return None
    return json.loads(
        jwe.decrypt_compact(sealed, OctKey.import_key(urlsafe_b64decode(key)), algorithms=["dir", "A256GCM"]).plaintext
    )


def security():
    if "KAFKA_USERNAME" not in os.environ:
        return {}
    return {
        "security_protocol": "SASL_SSL",
        "ssl_context": ssl.create_default_context(cafile=os.environ.get("KAFKA_CA_FILE")),
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": os.environ["KAFKA_USERNAME"],
        "sasl_plain_password": os.environ["KAFKA_PASSWORD"],
    }


asyncio.run(follow(*sys.argv[1:]))

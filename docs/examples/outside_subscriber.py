# /// script
# dependencies = ["aiokafka"]
# ///
"""An outside subscriber: writes each confirmed order into its own database exactly once.

Usage: python outside_subscriber.py 127.0.0.1:19092 confirmed.sqlite3 [TOPIC]

For a secured cluster, set KAFKA_USERNAME, KAFKA_PASSWORD and KAFKA_CA_FILE: TLS with SCRAM-SHA-512.
"""

import asyncio
import json
import os
import sqlite3
import ssl
import sys

from aiokafka import AIOKafkaConsumer


async def follow(servers: str, path: str, topic: str = "orders") -> None:
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE IF NOT EXISTS confirmed (event_id PRIMARY KEY, number, total_cents)")
    options = {"enable_auto_commit": False, "auto_offset_reset": "earliest", "isolation_level": "read_committed"}
    group = f"outside-subscriber.{topic}"
    async with AIOKafkaConsumer(topic, bootstrap_servers=servers, group_id=group, **options, **security()) as consumer:
        async for record in consumer:
            headers = dict(record.headers)  # anybody may have written them: compare bytes, and check the source
            if (headers.get("ce_source"), headers.get("ce_type")) == (b"urn:orderly:orders", b"order.confirmed"):
                order = json.loads(record.value)
                row = (headers["ce_id"].decode(), order["number"], order["total_cents"])
                with database:  # the event id is the primary key, so a repeated event inserts nothing
                    is_new = database.execute("INSERT OR IGNORE INTO confirmed VALUES (?, ?, ?)", row).rowcount == 1
                if is_new:
                    print(
                        f"{order['number']} confirmed: {order['total_cents'] / 100:.2f} {order['currency']}", flush=True
                    )
            await consumer.commit()  # after the effect: Kafka sends an uncommitted event again


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

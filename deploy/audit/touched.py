"""The keys that have changed since the last run: named by the events that were sent since."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import takewhile

import asyncpg

from deploy.audit.context import Context
from deploy.audit.events import event_key
from deploy.audit.findings import Key, Kind
from deploy.audit.sent_events import Place, sent_after
from deploy.audit.streams import stream_key

_SUBJECTS = {"users": Kind.USER, "orders": Kind.ORDER, "products": Kind.PRODUCT, "notifications": Kind.NOTIFICATION}
"""The kind of the keys of each topic."""
_SKUS = "SELECT DISTINCT sku FROM order_item WHERE order_id = ANY($1::uuid[])"
_WAITING = """
    SELECT topic, key FROM (SELECT id, topic, key FROM outbox ORDER BY shard, id LIMIT $2) AS oldest WHERE id <= $1
"""


@dataclass
class Touched:
    """The keys that one service's events name, and where the next run begins."""

    watermark: Place
    keys: set[Key] = field(default_factory=set)
    waiting: set[Key] = field(default_factory=set)
    """Keys of events that were not sent in the order of their ids, behind the watermark."""
    read_until: datetime | None = None
    """The time at which the last event was sent that was read; None if no settled event is left."""


async def touched_since(context: Context, service: str, watermark: Place, *, limit: int) -> Touched:
    """Read the events that were sent after the watermark, at most `limit`, up to the first that is not settled yet."""
    connection = context.databases[service]
    rows = await sent_after(connection, watermark, limit=limit)
    settled = list(takewhile(lambda row: row["sent_at"] <= context.settled_before, rows))
    touched = Touched(watermark)
    for row in settled:
        touched.keys.update(_keys_of(service, row))
    if settled:
        touched.watermark = Place(settled[-1]["day"], settled[-1]["id"])
        if len(settled) == limit:
            touched.read_until = settled[-1]["sent_at"]
    for topic, key in await connection.fetch(_WAITING, touched.watermark.id, limit):
        touched.waiting.update({stream_key(topic, key), Key(_SUBJECTS[topic], key)})
    return touched


async def products_of(context: Context, order_ids: Collection[str]) -> set[Key]:
    """Return the products of orders: their reserved units change with the orders, without an event of their own."""
    rows = await context.databases["orders"].fetch(_SKUS, list(order_ids))
    return {Key(Kind.PRODUCT, row["sku"]) for row in rows}


def _keys_of(service: str, row: asyncpg.Record) -> Iterator[Key]:
    yield event_key(service, row["day"], row["id"])
    yield stream_key(row["topic"], row["key"])
    yield Key(_SUBJECTS[row["topic"]], row["key"])
    if row["order_id"] is not None:
        yield Key(Kind.ORDER, row["order_id"])

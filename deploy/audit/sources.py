"""The rows of all tables as keys to check, page by page in the order of a primary key."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from deploy.audit.databases import SERVICES, Databases
from deploy.audit.events import event_key
from deploy.audit.findings import Key, Kind
from deploy.audit.sent_events import Place, sent_after
from deploy.audit.streams import stream_key

# The names of the tables: a bare `id` after ORDER BY would be the text that is selected, which no index sorts.
_UUIDS = "SELECT id::text FROM {table} WHERE id > $1::uuid ORDER BY {table}.id LIMIT $2"
_USERS = _UUIDS.format(table="user_account")
_ORDERS = _UUIDS.format(table="customer_order")
_NOTIFICATIONS = _UUIDS.format(table="notification")
_PRODUCTS = "SELECT sku FROM product WHERE sku > $1 ORDER BY sku LIMIT $2"
_RESERVATIONS = """
    SELECT order_id::text FROM credit_reservation r WHERE order_id > $1::uuid ORDER BY r.order_id LIMIT $2
"""
_KNOWN_ORDERS = "SELECT id::text FROM customer_order WHERE id = ANY($1::uuid[])"
_STREAMS = """
    SELECT topic, key FROM event_stream WHERE (topic, key) > ($1, $2) ORDER BY topic, key LIMIT $3
"""
_NO_ID = "00000000-0000-0000-0000-000000000000"


class Page(NamedTuple):
    """Keys to check, and after which row the next page begins; None if this was the last."""

    keys: list[Key]
    after: str | None


NextPage = Callable[[Databases, str, int], Awaitable[Page]]
"""Returns the page that begins after a row; "" begins at the first."""


def _rows(service: str, query: str, kind: Kind, *, first: str = _NO_ID) -> NextPage:
    async def page(databases: Databases, after: str, limit: int) -> Page:
        values = [row[0] for row in await databases[service].fetch(query, after or first, limit)]
        return Page([Key(kind, value) for value in values], values[-1] if len(values) == limit else None)

    return page


async def _vanished_orders(databases: Databases, after: str, limit: int) -> Page:
    """Return orders that users holds a reservation of, and that orders does not know."""
    rows = await databases["users"].fetch(_RESERVATIONS, after or _NO_ID, limit)
    order_ids = [row[0] for row in rows]
    known = {row[0] for row in await databases["orders"].fetch(_KNOWN_ORDERS, order_ids)}
    keys = [Key(Kind.ORDER, order_id) for order_id in order_ids if order_id not in known]
    return Page(keys, order_ids[-1] if len(order_ids) == limit else None)


def _streams(service: str) -> NextPage:
    async def page(databases: Databases, after: str, limit: int) -> Page:
        topic, _, key = after.partition("/")
        rows = await databases[service].fetch(_STREAMS, topic, key, limit)
        keys = [stream_key(row["topic"], row["key"]) for row in rows]
        return Page(keys, keys[-1].value if len(rows) == limit else None)

    return page


def _sent(service: str) -> NextPage:
    """Return the pages of sent events, with their streams."""

    async def page(databases: Databases, after: str, limit: int) -> Page:
        rows = await sent_after(databases[service], Place.of(after), limit=limit)
        events = [event_key(service, row["day"], row["id"]) for row in rows]
        streams = {stream_key(row["topic"], row["key"]) for row in rows}
        last = str(Place(rows[-1]["day"], rows[-1]["id"])) if len(rows) == limit else None
        return Page([*events, *streams], last)

    return page


SOURCES: dict[str, NextPage] = {
    "users": _rows("users", _USERS, Kind.USER),
    "orders": _rows("orders", _ORDERS, Kind.ORDER),
    "products": _rows("orders", _PRODUCTS, Kind.PRODUCT, first=""),
    "reservations": _vanished_orders,
    "notifications": _rows("notifications", _NOTIFICATIONS, Kind.NOTIFICATION),
    **{f"{service} streams": _streams(service) for service in SERVICES},
}
"""Tables of which every run checks a page, and a full run all pages."""
SENT_SOURCES: dict[str, NextPage] = {f"{service} sent": _sent(service) for service in SERVICES}
"""Sent events, which a full run checks too. An incremental one reads those that are new."""

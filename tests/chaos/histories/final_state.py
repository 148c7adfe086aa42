"""Reads the final state from the databases, of every user, order and product that the history names."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any, TypeAlias

import asyncpg

from shared.connection_urls import dsn_of
from shared.events.users import Contact
from shared.personal_data import unseal
from tests.chaos.histories.history import CreditStep, FinalState, Request, Resource, TimelineEntry

_USERS = """
    SELECT u.id::text, u.version, u.name, u.personal_key, c.limit_cents
    FROM user_account u JOIN credit_account c ON c.user_id = u.id WHERE u.id::text = ANY($1)
"""
_PRODUCTS = "SELECT sku, version, name, price_cents, stock FROM product WHERE sku = ANY($1)"
_ORDERS = """
    SELECT id::text, version, user_id::text FROM customer_order WHERE id::text = ANY($1) OR user_id::text = ANY($2)
"""
_TIMELINES = """
    SELECT order_id::text, status, amount_cents FROM order_timeline
    WHERE order_id::text = ANY($1) AND status <> 'pending' ORDER BY order_id, id
"""
_EVENTS = """
    SELECT key, sequence, type, event_id, payload, sent_at FROM outbox_sent WHERE key = ANY($1) AND type = ANY($2)
    UNION ALL
    SELECT key, sequence, type, event_id, payload, NULL FROM outbox WHERE key = ANY($1) AND type = ANY($2)
    ORDER BY key, sequence
"""
_APPLIED = "SELECT event_id, applied_at FROM inbox WHERE consumer = 'users.orders' AND event_id = ANY($1)"

Connections: TypeAlias = "dict[str, asyncpg.Connection[asyncpg.Record]]"


async def read_final_state(databases: Mapping[str, str], requests: Sequence[Request]) -> FinalState:
    """Read the state. Call it once everything is applied.

    `databases`: URLs by service. They have the column `inbox.applied_at`, which `applied_times.add_column` adds.
    """
    async with AsyncExitStack() as stack:
        connections: Connections = {}
        for service in ("users", "orders"):
            connections[service] = await asyncpg.connect(dsn_of(databases[service]))
            stack.push_async_callback(connections[service].close)
        return await _read(connections, requests)


async def _read(databases: Connections, requests: Sequence[Request]) -> FinalState:
    resources = {one.resource for one in requests if one.resource is not None}
    callers = {one.caller for one in requests if one.caller}
    users = sorted({one.key for one in resources if one.kind in ("users", "credit")} | callers)
    products = [one.key for one in resources if one.kind == "products"]
    order_ids = [one.key for one in resources if one.kind == "orders"]
    accounts = await databases["users"].fetch(_USERS, users)
    goods = await databases["orders"].fetch(_PRODUCTS, products)
    orders = await databases["orders"].fetch(_ORDERS, order_ids, users)
    all_order_ids = [row["id"] for row in orders]
    updates = await databases["users"].fetch(_EVENTS, users, ["user.updated"])
    product_updates = await databases["orders"].fetch(_EVENTS, products, ["product.updated"])
    return FinalState(
        versions={Resource("users", row["id"]): row["version"] for row in accounts}
        | {Resource("products", row["sku"]): row["version"] for row in goods}
        | {Resource("orders", row["id"]): row["version"] for row in orders},
        fields={Resource("users", row["id"]): {"name": row["name"]} for row in accounts}
        | {Resource("credit", row["id"]): {"limit_cents": row["limit_cents"]} for row in accounts}
        | {Resource("products", row["sku"]): dict(row) for row in goods},
        updates=_payloads("users", updates, keys={row["id"]: row["personal_key"] for row in accounts})
        | _payloads("products", product_updates),
        orders_of=_grouped((row["user_id"], row["id"]) for row in orders),
        timelines=await _timelines(databases, all_order_ids),
        credit_steps=await _credit_steps(databases, users, all_order_ids),
    )


async def _timelines(databases: Connections, order_ids: Sequence[str]) -> dict[str, list[TimelineEntry]]:
    found: dict[str, list[TimelineEntry]] = defaultdict(list)
    for order_id, status, amount_cents in await databases["orders"].fetch(_TIMELINES, order_ids):
        found[order_id].append(TimelineEntry(status, amount_cents))
    return found


async def _credit_steps(
    databases: Connections, users: Sequence[str], order_ids: Sequence[str]
) -> dict[str, list[CreditStep]]:
    """Return the changes of each user's credit.

    A refund has no event of the user. It counts as applied by a step unless the users service has certainly applied it
    after the step's event was sent.
    """
    types = ["user.credit_reserved", "user.credit_released"]
    changes = await databases["users"].fetch(_EVENTS, users, types)
    refunds = await databases["orders"].fetch(_EVENTS, order_ids, ["order.refunded"])
    applied = await databases["users"].fetch(_APPLIED, [row["event_id"] for row in refunds])
    applied_at = {row["event_id"]: row["applied_at"] for row in applied}
    refunds_of: dict[str, list[tuple[int, asyncpg.Record]]] = defaultdict(list)
    for row in refunds:
        data = json.loads(row["payload"])
        refunds_of[data["user_id"]].append((data["amount_cents"], row))
    steps: dict[str, list[CreditStep]] = defaultdict(list)
    for row in changes:
        data = json.loads(row["payload"])
        refunded_cents = sum(
            cents
            for cents, refund in refunds_of[row["key"]]
            if not _is_after(applied_at.get(refund["event_id"]), row["sent_at"])
        )
        sign = 1 if row["type"] == "user.credit_reserved" else -1
        steps[row["key"]].append(
            CreditStep(
                sequence=row["sequence"],
                order=data["order_id"],
                cents=sign * data["amount_cents"],
                refunded_cents=refunded_cents,
            )
        )
    return steps


def _is_after(later: datetime | None, earlier: datetime | None) -> bool:
    return later is not None and earlier is not None and later > earlier


def _payloads(
    kind: str, rows: Iterable[asyncpg.Record], *, keys: Mapping[str, bytes] | None = None
) -> dict[Resource, list[dict[str, Any]]]:
    """Return the data of events by what they are about. `keys` open personal data, whose fields are added."""
    found: dict[Resource, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        data = json.loads(row["payload"])
        if keys is not None:
            data |= unseal(data["personal"], key=keys[row["key"]], model=Contact).model_dump()
        found[Resource(kind, row["key"])].append(data)
    return found


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for group, member in pairs:
        found[group].add(member)
    return {group: frozenset(members) for group, members in found.items()}

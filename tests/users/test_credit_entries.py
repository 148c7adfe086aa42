"""The ledger over HTTP: newest first, in pages, of one order, and by an index."""

import json
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from services.users.credit.queries import entries_newest_first
from services.users.models.credit import CreditEntry
from shared.ids import new_id
from tests.harness.databases import execute_as_owner
from tests.harness.problems import problem
from tests.users.orders import Order
from tests.users.service import ADA, UsersService

MANY = 10_000
_MANY_ENTRIES = f"""
    INSERT INTO credit_entry (user_id, order_id, kind, reserved_delta_cents, used_delta_cents, limit_delta_cents,
                              reserved_cents, used_cents, limit_cents, created_at)
    SELECT a.user_id, uuidv7(), 'reserved', 0, 0, 0, 0, 0, a.limit_cents, now()
    FROM generate_series(1, {MANY}) AS n, credit_account a
"""  # noqa: S608 - a constant


async def get(service: UsersService, path: str, header: dict[str, str], **params: Any) -> dict[str, Any]:
    response = await service.http.get(path, params=params, headers=header)
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


async def test_a_customer_reads_every_change_newest_first_without_who_made_it(service: UsersService) -> None:
    header = await service.sign_up_and_in()
    user_id = UUID((await get(service, "/v1/users/me", header))["id"])
    order = Order(user_id)
    await service.apply_all(order.created(), order.shipped())

    first = await get(service, "/v1/users/me/credit/entries", header, limit=2)
    second = await get(service, "/v1/users/me/credit/entries", header, limit=2, cursor=first["next_cursor"])

    used = first["items"][0]
    assert [each["kind"] for each in first["items"] + second["items"]] == ["used", "reserved", "opened"]
    assert second["next_cursor"] is None
    assert used == {
        "id": used["id"],
        "kind": "used",
        "order_id": str(order.id),
        "reserved_delta_cents": -600,
        "used_delta_cents": 600,
        "limit_delta_cents": 0,
        "reserved_cents": 0,
        "used_cents": 600,
        "limit_cents": 100_000,
        "created_at": used["created_at"],
    }


async def test_staff_read_who_changed_an_account(service: UsersService) -> None:
    admin = await service.header_with("admin", email="root@orderly.example")
    admin_id = (await get(service, "/v1/users/me", admin))["id"]
    account = await service.create_account()
    await service.http.put(f"/v1/users/{account.id}/credit-limit", json={"limit_cents": 5}, headers=admin)

    support = await service.header_with("support")
    newest, opened = (await get(service, f"/v1/users/{account.id}/credit/entries", support))["items"]

    assert (newest["kind"], newest["actor"], newest["reason"]) == ("limit_changed", admin_id, None)
    assert (opened["kind"], opened["actor"], opened["reason"]) == ("opened", None, None)


async def test_entries_are_filtered_by_order(service: UsersService) -> None:
    header = await service.sign_up_and_in()
    user_id = UUID((await get(service, "/v1/users/me", header))["id"])
    other = await service.create_account()
    order, another, of_other = Order(user_id), Order(user_id), Order(other.id)
    for each in (order, another, of_other):
        await service.apply_all(each.created(), each.cancelled())

    async def kinds_of(order_id: UUID) -> list[str]:
        page = await get(service, "/v1/users/me/credit/entries", header, order_id=str(order_id))
        return [each["kind"] for each in page["items"]]

    assert await kinds_of(order.id) == ["released", "reserved"]
    assert [await kinds_of(of_other.id), await kinds_of(uuid4())] == [[], []]


async def test_the_entries_of_an_unknown_user_or_order_id_are_errors(service: UsersService) -> None:
    header = await service.header_with("support")
    unknown = await service.http.get(f"/v1/users/{uuid4()}/credit/entries", headers=header)
    invalid = await service.http.get("/v1/users/me/credit/entries", params={"order_id": "1"}, headers=header)
    assert (problem(unknown), problem(invalid)) == ((404, "user_not_found"), (422, "validation_failed"))


@pytest.mark.parametrize("order_id", [None, new_id()])
async def test_an_index_leads_to_the_entries_of_an_account_or_order(
    service: UsersService, order_id: UUID | None
) -> None:
    account = await service.create_account(email=ADA["email"])
    await service.create_account()
    await execute_as_owner(service.sessions, _MANY_ENTRIES, "ANALYZE credit_entry")
    next_page = entries_newest_first(account.id, order_id=order_id).where(CreditEntry.id < MANY).limit(20)

    plan = await explained(service, next_page)

    index = "pk_credit_entry" if order_id is None else "ix_credit_entry_order_id"
    scan = plan["Plans"][0]
    assert (plan["Node Type"], scan["Node Type"], scan["Index Name"]) == ("Limit", "Index Scan", index)
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 40


async def explained(service: UsersService, query: sa.Select[Any]) -> dict[str, Any]:
    """Execute a query and return its plan."""
    text = query.compile(dialect=service.sessions.kw["bind"].dialect, compile_kwargs={"literal_binds": True})
    async with service.sessions() as session:
        document = await session.scalar(sa.text(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {text}"))
    (found,) = json.loads(document) if isinstance(document, str) else document
    plan: dict[str, Any] = found["Plan"]
    return plan

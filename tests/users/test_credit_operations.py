"""Operators release the credit of unknown orders, and recompute accounts."""

from typing import Any
from uuid import uuid4

import pytest

from services.users.settings import Settings
from tests.harness.databases import execute_as_owner
from tests.harness.tool import Tool
from tests.users.orders import Order
from tests.users.service import UsersService

NOTE = ("--note", "the order is unknown")


@pytest.fixture
def tool(settings: Settings) -> Tool:
    return Tool("users", settings.database_url)


async def test_the_credit_of_an_unknown_order_is_released_once(service: UsersService, tool: Tool) -> None:
    account = await service.create_account()
    order = Order(account.id)
    await service.apply(order.created())

    status, released = await tool.json("credit", "release", str(order.id), *NOTE)
    again, nothing = await tool.json("credit", "release", str(order.id), *NOTE)

    facts = {"order_id": str(order.id), "user_id": str(account.id)}
    assert (status, released) == (0, {**facts, "status_before": "reserved", "released_cents": 600})
    assert (again, nothing) == (0, {**facts, "status_before": "released", "released_cents": 0})
    assert (await service.events())[1:] == [("user.credit_released", order.reply())]
    assert await service.credit(account.id) == (0, 0)


async def test_used_credit_is_released_without_what_was_refunded(service: UsersService, tool: Tool) -> None:
    account = await service.create_account()
    order = Order(account.id)
    await service.apply_all(order.created(), order.shipped(), order.refunded(100, refunded_cents=100))

    status, _, log = await tool("credit", "release", str(order.id), *NOTE, "--actor", "ada")

    assert status == 0
    assert '"event": "credit_released"' in log or "credit_released" in log
    assert "ada" in log
    assert (await service.events())[-1] == ("user.credit_released", order.reply(amount_cents=500))
    newest = (await service.ledger(account.id))[-1]
    assert (newest.kind, newest.actor, newest.reason) == ("released", "ada", NOTE[1])
    assert await service.credit(account.id) == (0, 0)


async def test_an_order_without_a_reservation_is_reported(service: UsersService, tool: Tool) -> None:
    await service.create_account()
    status, out, error = await tool("credit", "release", str(uuid4()), *NOTE)
    assert (status, out) == (2, "")
    assert "There is no reservation of the order" in error


async def test_an_account_is_recomputed_from_its_reservations(service: UsersService, tool: Tool) -> None:
    account = await service.create_account(limit_cents=1_000)
    orders = [Order(account.id, total_cents=300) for _ in range(2)]
    for order in orders:
        await service.apply(order.created())
    await service.apply(orders[1].shipped(), sequence=2)
    await execute_as_owner(service.sessions, "UPDATE credit_account SET reserved_cents = 301, used_cents = 7")

    expected: dict[str, Any] = {"user_id": str(account.id), "before": [301, 7, 1_000], "after": [300, 300, 1_000]}
    assert await tool.json("credit", "recompute", str(account.id), *NOTE) == (0, expected)
    assert await tool.json("credit", "recompute", str(account.id), *NOTE) == (
        0,
        expected | {"before": [300, 300, 1_000]},
    )
    assert await service.credit(account.id) == (300, 300)


async def test_a_limit_is_raised_only_if_that_is_wanted(service: UsersService, tool: Tool) -> None:
    account = await service.create_account(limit_cents=1_000)
    await service.apply(Order(account.id, total_cents=900).created())
    await execute_as_owner(service.sessions, "UPDATE credit_account SET reserved_cents = 0, limit_cents = 500")

    refused, _, error = await tool("credit", "recompute", str(account.id), *NOTE)
    status, done = await tool.json("credit", "recompute", str(account.id), "--raise-limit", *NOTE)

    assert refused == 2
    assert "--raise-limit" in error
    assert (status, done["after"]) == (0, [900, 0, 900])

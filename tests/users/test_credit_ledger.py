"""Every change of a credit account is an entry of its ledger, whoever made it."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from services.users.credit import operations
from shared.events.orders import OrderSnapshot
from tests.harness.databases import execute_as_owner
from tests.users.ledger import balances_of, deltas_of
from tests.users.orders import Order
from tests.users.service import UsersService

BY = {"actor": "ada@shop", "note": "found by the audit"}


async def changes(service: UsersService, user_id: UUID) -> list[tuple[Any, ...]]:
    """Return kind, order, deltas and balances of the entries after the first."""
    entries = (await service.ledger(user_id))[1:]
    return [(each.kind, each.order_id, deltas_of(each), balances_of(each)) for each in entries]


async def test_a_ledger_begins_with_the_limit_of_the_new_account(service: UsersService) -> None:
    account = await service.create_account(limit_cents=0)

    (opened,) = await service.ledger(account.id)

    assert (opened.kind, opened.order_id, opened.actor, opened.reason) == ("opened", None, None, None)


async def test_each_step_of_an_order_is_an_entry(service: UsersService) -> None:
    account = await service.create_account(limit_cents=1_000)
    shipped, cancelled, refused = Order(account.id), Order(account.id, total_cents=300), Order(account.id)

    await service.apply_all(shipped.created(), shipped.shipped(), shipped.refunded(50, refunded_cents=50))
    await service.apply_all(cancelled.created(), cancelled.cancelled())
    await service.apply(Order(account.id, total_cents=0).created())
    await service.apply(Order(account.id, total_cents=451).created())
    await service.apply_all(refused.created(), refused.rejected(), refused.shipped())

    assert await changes(service, account.id) == [
        ("reserved", shipped.id, (600, 0, 0), (600, 0, 1_000)),
        ("used", shipped.id, (-600, 600, 0), (0, 600, 1_000)),
        ("refunded", shipped.id, (0, -50, 0), (0, 550, 1_000)),
        ("reserved", cancelled.id, (300, 0, 0), (300, 550, 1_000)),
        ("released", cancelled.id, (-300, 0, 0), (0, 550, 1_000)),
    ]


async def test_a_repeated_event_makes_no_second_entry(service: UsersService) -> None:
    account = await service.create_account()
    order = Order(account.id)

    for _ in range(2):
        await service.change_credit(order.created(), order.created(), order.shipped(), order.shipped())

    assert [kind for kind, *_ in await changes(service, account.id)] == ["reserved", "used"]


async def test_a_snapshot_says_what_it_corrected(service: UsersService) -> None:
    account = await service.create_account(limit_cents=1_000)
    missed, known = Order(account.id, total_cents=400), Order(account.id)
    await service.apply(known.created())

    await service.apply(snapshot(missed, "confirmed"))
    await service.apply(snapshot(known, "shipped", refunded_cents=100), sequence=2)
    await service.apply(snapshot(known, "shipped", refunded_cents=100), sequence=3)
    await service.apply(snapshot(known, "cancelled"), sequence=4)

    assert (await changes(service, account.id))[1:] == [
        ("corrected", missed.id, (400, 0, 0), (1_000, 0, 1_000)),
        ("corrected", known.id, (-600, 500, 0), (400, 500, 1_000)),
        ("corrected", known.id, (0, -500, 0), (400, 0, 1_000)),
    ]


async def test_a_new_limit_names_the_admin(service: UsersService) -> None:
    header = await service.header_with("admin", email="root@orderly.example")
    admin_id = (await service.http.get("/v1/users/me", headers=header)).json()["id"]
    account = await service.create_account(limit_cents=1_000)

    for limit_cents in (400, 400, 700):
        body = {"limit_cents": limit_cents}
        await service.http.put(f"/v1/users/{account.id}/credit-limit", json=body, headers=header)

    assert await changes(service, account.id) == [
        ("limit_changed", None, (0, 0, -600), (0, 0, 400)),
        ("limit_changed", None, (0, 0, 300), (0, 0, 700)),
    ]
    assert {each.actor for each in (await service.ledger(account.id))[1:]} == {admin_id}


async def test_released_credit_names_the_operator_and_the_note(service: UsersService) -> None:
    account = await service.create_account(limit_cents=1_000)
    reserved, used = Order(account.id, total_cents=300), Order(account.id)
    await service.apply(reserved.created())
    await service.apply_all(used.created(), used.shipped())

    for order in (reserved, used, used):
        await operations.release(service.sessions, order.id, **BY)

    assert (await changes(service, account.id))[3:] == [
        ("released", reserved.id, (-300, 0, 0), (0, 600, 1_000)),
        ("released", used.id, (0, -600, 0), (0, 0, 1_000)),
    ]
    by = [(each.actor, each.reason) for each in await service.ledger(account.id)]
    assert by == 4 * [(None, None)] + 2 * [("ada@shop", "found by the audit")]


async def test_a_recomputed_account_has_an_entry_that_makes_its_ledger_add_up(service: UsersService) -> None:
    account = await service.create_account(limit_cents=1_000)
    await service.apply(Order(account.id).created())
    await execute_as_owner(
        service.sessions,
        "UPDATE credit_account SET limit_cents = 900",
        "UPDATE credit_reservation SET amount_cents = 500",
    )

    for _ in range(2):
        await operations.recompute(service.sessions, account.id, raise_limit=False, **BY)

    assert (await changes(service, account.id))[1:] == [("corrected", None, (-100, 0, -100), (500, 0, 900))]
    newest = (await service.ledger(account.id))[-1]
    assert (newest.actor, newest.reason) == ("ada@shop", "found by the audit")


async def test_an_entry_goes_only_with_its_account(service: UsersService) -> None:
    account = await service.create_account()
    order = Order(account.id)
    await service.apply(order.created())
    await operations.release(service.sessions, order.id, **BY)

    for statement in (
        "UPDATE credit_entry SET used_cents = 1",
        "UPDATE credit_entry SET reason = 'another'",
        "UPDATE credit_entry SET reason = NULL, actor = 'another'",
        "DELETE FROM credit_entry",
    ):
        with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="append-only"):
            await execute_as_owner(service.sessions, statement)
    await execute_as_owner(service.sessions, "UPDATE credit_entry SET reason = NULL")
    assert [each.reason for each in await service.ledger(account.id)] == [None, None, None]

    await execute_as_owner(
        service.sessions,
        "DELETE FROM user_account",
        "DO $$ BEGIN ASSERT (SELECT count(*) FROM credit_entry) = 0; END $$",
    )


def snapshot(order: Order, status: Any, *, refunded_cents: int = 0) -> OrderSnapshot:
    """Build the state of an order, as orders publishes it."""
    now = datetime.now(UTC)
    return OrderSnapshot(
        **order.facts, status=status, placed_at=now, deadline=now, refunded_cents=refunded_cents, lines=()
    )

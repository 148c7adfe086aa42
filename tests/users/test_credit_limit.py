"""Credit over HTTP: who sees it, and how its limit is set."""

import asyncio
from uuid import UUID, uuid4

from services.users.credit_commands import reserve_credit
from tests.users.front_door import FrontDoor, problem


async def reserve(users: FrontDoor, user_id: UUID, amount_cents: int) -> None:
    async with users.sessions.begin() as session:
        await reserve_credit(session, order_id=uuid4(), user_id=user_id, amount_cents=amount_cents, currency="GBP")


async def test_a_new_limit_holds_at_once(users: FrontDoor) -> None:
    header = await users.header_of("admin")
    account = await users.account(limit_cents=1_000)
    await reserve(users, account.id, 400)

    answer = await users.client.put(f"/v1/users/{account.id}/credit-limit", json={"limit_cents": 500}, headers=header)

    credit = {
        "limit_cents": 500,
        "reserved_cents": 400,
        "used_cents": 0,
        "available_cents": 100,
        "currency": "GBP",
    }
    assert (answer.status_code, answer.json()) == (200, credit)
    assert (await users.client.get(f"/v1/users/{account.id}/credit", headers=header)).json() == credit


async def test_a_limit_can_not_go_below_what_is_taken(users: FrontDoor) -> None:
    header = await users.header_of("admin")
    account = await users.account(limit_cents=1_000)
    await reserve(users, account.id, 400)

    answer = await users.client.put(f"/v1/users/{account.id}/credit-limit", json={"limit_cents": 399}, headers=header)

    assert problem(answer) == (409, "limit_below_use")
    assert (answer.json()["reserved_cents"], answer.json()["used_cents"]) == (400, 0)
    at_the_edge = await users.client.put(
        f"/v1/users/{account.id}/credit-limit", json={"limit_cents": 400}, headers=header
    )
    assert at_the_edge.status_code == 200


async def test_a_limit_that_is_none_is_refused(users: FrontDoor) -> None:
    header = await users.header_of("admin")
    for limit_cents in (-1, 10**15 + 1, 2**63, 1.5, "100", True, None):
        answer = await users.client.put(
            f"/v1/users/{uuid4()}/credit-limit", json={"limit_cents": limit_cents}, headers=header
        )
        assert problem(answer) == (422, "validation_failed"), limit_cents


async def test_the_credit_of_nobody_is_not_found(users: FrontDoor) -> None:
    header = await users.header_of("admin")
    path = f"/v1/users/{uuid4()}"
    for answer in (
        await users.client.get(f"{path}/credit", headers=header),
        await users.client.put(f"{path}/credit-limit", json={"limit_cents": 1}, headers=header),
    ):
        assert problem(answer) == (404, "user_not_found")


async def test_limits_lowered_while_orders_come_in_are_never_overrun(users: FrontDoor) -> None:
    header = await users.header_of("admin")
    account = await users.account(limit_cents=1_000)

    async def lower(limit_cents: int) -> int:
        answer = await users.client.put(
            f"/v1/users/{account.id}/credit-limit", json={"limit_cents": limit_cents}, headers=header
        )
        return answer.status_code

    outcomes = await asyncio.gather(
        *(reserve(users, account.id, 100) for _ in range(12)), *(lower(n * 100) for n in range(9, 1, -1))
    )

    assert set(outcomes[12:]) <= {200, 409}
    reserved, _ = await users.credit(account.id)
    assert reserved > 0

"""Credit over HTTP, and its limit."""

import asyncio
from uuid import UUID, uuid4

from tests.harness.problems import problem
from tests.users.orders import Order
from tests.users.service import UsersService


async def reserve(service: UsersService, user_id: UUID, amount_cents: int) -> None:
    await service.apply(Order(user_id, total_cents=amount_cents).created())


async def test_a_new_limit_applies_at_once(service: UsersService) -> None:
    header = await service.header_with("admin")
    account = await service.create_account(limit_cents=1_000)
    await reserve(service, account.id, 400)

    response = await service.http.put(f"/v1/users/{account.id}/credit-limit", json={"limit_cents": 500}, headers=header)

    credit = {
        "limit_cents": 500,
        "reserved_cents": 400,
        "used_cents": 0,
        "available_cents": 100,
        "currency": "GBP",
    }
    assert (response.status_code, response.json()) == (200, credit)
    assert (await service.http.get(f"/v1/users/{account.id}/credit", headers=header)).json() == credit


async def test_a_limit_below_reserved_and_used_credit_is_rejected(service: UsersService) -> None:
    header = await service.header_with("admin")
    account = await service.create_account(limit_cents=1_000)
    await reserve(service, account.id, 400)

    response = await service.http.put(f"/v1/users/{account.id}/credit-limit", json={"limit_cents": 399}, headers=header)

    assert problem(response) == (409, "limit_below_use")
    assert (response.json()["reserved_cents"], response.json()["used_cents"]) == (400, 0)
    at_the_limit = await service.http.put(
        f"/v1/users/{account.id}/credit-limit", json={"limit_cents": 400}, headers=header
    )
    assert at_the_limit.status_code == 200


async def test_an_invalid_limit_is_rejected(service: UsersService) -> None:
    header = await service.header_with("admin")
    for limit_cents in (-1, 10**15 + 1, 2**63, 1.5, "100", True, None):
        response = await service.http.put(
            f"/v1/users/{uuid4()}/credit-limit", json={"limit_cents": limit_cents}, headers=header
        )
        assert problem(response) == (422, "validation_failed"), limit_cents


async def test_the_credit_of_an_unknown_user_is_not_found(service: UsersService) -> None:
    header = await service.header_with("admin")
    path = f"/v1/users/{uuid4()}"
    for response in (
        await service.http.get(f"{path}/credit", headers=header),
        await service.http.put(f"{path}/credit-limit", json={"limit_cents": 1}, headers=header),
    ):
        assert problem(response) == (404, "user_not_found")


async def test_lowering_the_limit_during_reservations_never_exceeds_it(service: UsersService) -> None:
    header = await service.header_with("admin")
    account = await service.create_account(limit_cents=1_000)

    async def lower(limit_cents: int) -> int:
        response = await service.http.put(
            f"/v1/users/{account.id}/credit-limit", json={"limit_cents": limit_cents}, headers=header
        )
        return response.status_code

    outcomes = await asyncio.gather(
        *(reserve(service, account.id, 100) for _ in range(12)), *(lower(n * 100) for n in range(9, 1, -1))
    )

    assert set(outcomes[12:]) <= {200, 409}
    reserved, _ = await service.credit(account.id)
    assert reserved > 0

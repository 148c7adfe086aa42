"""Staff find users by address, status, role and time."""

from datetime import timedelta
from typing import Any

import pytest

from tests.harness.problems import problem
from tests.users.service import UsersService


async def emails(service: UsersService, header: dict[str, str], **params: Any) -> list[str]:
    """Return the addresses of all pages, read two by two."""
    found: list[str] = []
    page = await service.http.get("/v1/users", params={"limit": 2, **params}, headers=header)
    while True:
        assert page.status_code == 200, page.text
        found += [item["email"].partition("@")[0] for item in page.json()["items"]]
        if page.json()["next_cursor"] is None:
            return found
        page = await service.http.get(page.links["next"]["url"], headers=header)


@pytest.fixture
async def header(service: UsersService) -> dict[str, str]:
    return await service.header_with("support", email="zz@orderly.example")


async def test_users_are_listed_newest_first_page_by_page(service: UsersService, header: dict[str, str]) -> None:
    for number in range(4):
        await service.create_account(email=f"user{number}@orderly.example")

    assert await emails(service, header) == ["user3", "user2", "user1", "user0", "zz"]


async def test_each_filter_selects_its_users(service: UsersService, header: dict[str, str]) -> None:
    admin = await service.header_with("admin", "customer", email="admin@orderly.example")
    first = await service.create_account(email="Ada@orderly.example")
    second = await service.create_account(email="adam@orderly.example")
    await service.http.post(f"/v1/users/{first.id}/suspend", json={"reason": "Fraud"}, headers=admin)
    between, after = second.created_at.isoformat(), (second.created_at + timedelta(seconds=1)).isoformat()

    assert await emails(service, header, status="suspended") == ["Ada"]
    assert await emails(service, header, status="active", role="customer") == ["adam", "admin"]
    assert await emails(service, header, role="admin") == ["admin"]
    assert await emails(service, header, role="support") == ["zz"]
    assert await emails(service, header, email="ADA@orderly.example") == ["Ada"]
    assert await emails(service, header, email="nobody@orderly.example") == []
    assert await emails(service, header, created_after=between) == ["adam"]
    assert await emails(service, header, created_before=between) == ["Ada", "admin", "zz"]
    assert await emails(service, header, created_after=after) == []


async def test_a_prefix_of_addresses_selects_users_ordered_by_address(
    service: UsersService, header: dict[str, str]
) -> None:
    for name in ("Ada.c", "ada", "ada_b", "ada%x", "adb", "ADA.b", "ad", "zoe", "ádám"):
        await service.create_account(email=f"{name}@orderly.example")

    assert await emails(service, header, email_prefix="aDa") == ["ada%x", "ADA.b", "Ada.c", "ada", "ada_b"]
    assert await emails(service, header, email_prefix="ada%") == ["ada%x"]
    assert await emails(service, header, email_prefix="ada_") == ["ada_b"]
    assert await emails(service, header, email_prefix="á") == ["ádám"]
    assert await emails(service, header, email_prefix="ada", role="admin") == []
    assert len(await emails(service, header, email_prefix="ada@orderly.example")) == 1


async def test_an_invalid_filter_is_rejected(service: UsersService, header: dict[str, str]) -> None:
    wrong = ("email=%00", "email_prefix=", "email_prefix=%00", "status=odd", "role=root", "limit=0")
    for query in (*wrong, "created_after=yesterday", "created_before=2026-11-23T10:00:00"):
        response = await service.http.get(f"/v1/users?{query}", headers=header)
        assert problem(response) == (422, "validation_failed"), query

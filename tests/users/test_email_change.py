"""Changing an e-mail address: a recent sign-in asks for it, the token that the new address gets confirms it."""

import asyncio
from typing import Any

import httpx2
import pytest
import sqlalchemy as sa

from tests.harness.databases import until_waiting
from tests.harness.problems import problem
from tests.harness.rows import Rows
from tests.users.mails import (
    CHANGE,
    RESET,
    VERIFICATION,
    ask_for_reset,
    mailed_token,
    mails,
    move_back,
    security_events,
    types_of_events,
)
from tests.users.service import ADA, PASSWORD, UsersService

NEW = "ada@new.example"


@pytest.fixture
async def header(service: UsersService) -> dict[str, str]:
    """The header of a user with a verified address."""
    header = await service.sign_up_and_in()
    await verify_all(service)
    return header


async def verify_all(service: UsersService) -> None:
    async with service.sessions.begin() as session:
        await session.execute(sa.text("UPDATE user_account SET email_verified_at = now()"))


async def ask(service: UsersService, header: dict[str, str], **changes: Any) -> httpx2.Response:
    body = {"email": NEW} | changes
    return await service.http.post("/v1/users/me/email-change", json=body, headers=header)


async def confirm(service: UsersService, token: str, *, password: str = PASSWORD) -> httpx2.Response:
    return await service.http.post("/v1/email-changes", json={"token": token, "password": password})


async def confirm_signed_in(service: UsersService, token: str, *, header: dict[str, str]) -> httpx2.Response:
    path = "/v1/users/me/email-change/confirmation"
    return await service.http.post(path, json={"token": token}, headers=header)


async def me(service: UsersService, header: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = (await service.http.get("/v1/users/me", headers=header)).json()
    return found


async def test_the_new_address_gets_a_mail_and_the_old_one_stays(service: UsersService, header: dict[str, str]) -> None:
    response = await ask(service, header)

    assert (response.status_code, response.json()) == (202, {"expires_in": 3600})
    (mail,) = await mails(service, CHANGE)
    assert mail.email == NEW
    user = await me(service, header)
    assert user["email"] == ADA["email"]
    assert await security_events(service) == [("email_change_requested", user["id"], {})]


async def test_the_token_changes_the_address_and_the_former_one_is_told(
    service: UsersService, header: dict[str, str]
) -> None:
    await ask(service, header)
    token = await mailed_token(service, CHANGE)

    response = await confirm(service, token)

    assert (response.status_code, response.content) == (204, b"")
    user = await me(service, header)  # the session stays open
    assert (user["email"], user["email_verified_at"]) == (NEW, user["updated_at"])
    await service.sign_in(email=NEW)
    _, (updated, data), (changed, told) = await service.events()
    assert (updated, data["email"]) == ("user.updated", NEW)
    assert (changed, told) == (
        "user.email_changed",
        {"user_id": user["id"], "email": ADA["email"], "token": "", "locale": "en"},
    )
    assert (await security_events(service))[-1] == ("email_changed", user["id"], {})
    assert problem(await confirm(service, token)) == (410, "one_time_token_invalid")


async def test_a_token_alone_changes_nothing(service: UsersService, header: dict[str, str]) -> None:
    """A stranger may have asked for a change to the address of whoever opens the link."""
    await ask(service, header)
    token = await mailed_token(service, CHANGE)
    other = await service.sign_up_and_in(email="eve@orderly.example")

    alone = await service.http.post("/v1/email-changes", json={"token": token})
    wrong = await confirm(service, token, password="a wrong guess")
    foreign = await confirm_signed_in(service, token, header=other)

    assert problem(alone) == (422, "validation_failed")
    assert problem(wrong) == (403, "password_wrong")
    assert problem(foreign) == (410, "one_time_token_invalid")
    assert (await me(service, header))["email"] == ADA["email"]
    assert (await me(service, other))["email"] == "eve@orderly.example"
    assert (await confirm_signed_in(service, token, header=header)).status_code == 204
    assert (await me(service, header))["email"] == NEW


async def test_the_present_address_is_no_change_but_another_case_is(
    service: UsersService, header: dict[str, str]
) -> None:
    assert problem(await ask(service, header, email=ADA["email"])) == (409, "email_unchanged")

    assert (await ask(service, header, email="ADA@orderly.example")).status_code == 202
    assert (await confirm(service, await mailed_token(service, CHANGE))).status_code == 204

    assert (await me(service, header))["email"] == "ADA@orderly.example"


async def test_a_request_does_not_tell_that_the_address_is_taken_and_its_holder_learns_it(
    service: UsersService, header: dict[str, str]
) -> None:
    await service.sign_up(email=NEW)
    await verify_all(service)

    response = await ask(service, header)

    assert (response.status_code, response.json()) == (202, {"expires_in": 3600})
    token = await mailed_token(service, CHANGE)
    assert problem(await confirm(service, token)) == (409, "email_taken")
    async with service.sessions.begin() as session:
        await session.execute(
            sa.text("UPDATE user_account SET email = 'free@new.example' WHERE email = :new"), {"new": NEW}
        )
    assert (await confirm(service, token)).status_code == 204


async def test_an_account_that_never_verified_the_address_gives_way(
    service: UsersService, header: dict[str, str]
) -> None:
    squatter = await service.sign_up(email="Ada@NEW.example")
    await ask(service, header)

    response = await confirm(service, await mailed_token(service, CHANGE))

    assert response.status_code == 204
    assert (await me(service, header))["email"] == NEW
    assert ("user.purged", {"user_id": squatter["id"]}) in await service.events()
    assert ("account_purged", "system", {}) in await security_events(service)


async def test_an_unverified_account_with_credit_in_use_does_not_give_way(
    service: UsersService, header: dict[str, str]
) -> None:
    other = await service.sign_up(email=NEW)
    async with service.sessions.begin() as session:
        await session.execute(
            sa.text("UPDATE credit_account SET used_cents = 1 WHERE user_id = :id"), {"id": other["id"]}
        )
    await ask(service, header)

    assert problem(await confirm(service, await mailed_token(service, CHANGE))) == (409, "email_taken")
    assert await Rows(service.sessions).count("user_account") == 2


async def test_of_two_users_who_change_to_one_address_one_gets_it(
    service: UsersService, header: dict[str, str]
) -> None:
    other = await service.sign_up_and_in(email="eve@orderly.example")
    await verify_all(service)
    await ask(service, header)
    first = await mailed_token(service, CHANGE)
    await ask(service, other)
    second = await mailed_token(service, CHANGE)

    async with service.sessions.begin() as session:
        await session.execute(sa.text("SELECT FROM user_account FOR UPDATE"))
        changes = asyncio.gather(confirm(service, first), confirm(service, second))
        await until_waiting(service.sessions, transactions=2)

    assert sorted(response.status_code for response in await changes) == [204, 409]


async def test_two_users_who_swap_addresses_do_not_deadlock(service: UsersService, header: dict[str, str]) -> None:
    other = await service.sign_up_and_in(email="eve@orderly.example")
    await verify_all(service)
    await ask(service, header, email="eve@orderly.example")
    first = await mailed_token(service, CHANGE)
    await ask(service, other, email=ADA["email"])
    second = await mailed_token(service, CHANGE)

    responses = await asyncio.gather(
        *(confirm_signed_in(service, token, header=owner) for token, owner in ((first, header), (second, other)) * 3)
    )

    assert [response.status_code for response in responses] == [409] * 6


async def test_a_change_lets_links_to_the_former_address_no_longer_work(
    service: UsersService, header: dict[str, str]
) -> None:
    await ask_for_reset(service, ADA["email"])
    await ask(service, header)

    await confirm(service, await mailed_token(service, CHANGE))

    body = {"token": await mailed_token(service, RESET), "new_password": "another good password"}
    response = await service.http.post("/v1/password-resets/confirmation", json=body)
    assert problem(response) == (410, "one_time_token_invalid")


async def test_a_change_verifies_an_account_without_telling_an_address_that_nobody_proved(
    service: UsersService,
) -> None:
    header = await service.sign_up_and_in()
    await ask(service, header)

    await confirm(service, await mailed_token(service, CHANGE))

    assert await types_of_events(service) == [CHANGE, "user.updated", "user.email_verified"]
    assert (await me(service, header))["email_verified_at"] is not None
    token = await mailed_token(service, VERIFICATION)
    response = await service.http.post("/v1/email-verifications", json={"token": token, "password": PASSWORD})
    assert problem(response) == (410, "one_time_token_invalid")


async def test_an_expired_and_a_replaced_token_change_nothing(service: UsersService, header: dict[str, str]) -> None:
    await ask(service, header, email="first@new.example")
    first = await mailed_token(service, CHANGE)
    await ask(service, header)
    second = await mailed_token(service, CHANGE)
    await move_back(service, hours=1)

    for token in (first, second):
        assert problem(await confirm(service, token)) == (410, "one_time_token_invalid")
    assert (await me(service, header))["email"] == ADA["email"]


async def test_mails_to_one_address_are_limited_whoever_asks(service: UsersService, header: dict[str, str]) -> None:
    headers = [header] * 3 + [await service.sign_up_and_in(email="eve@orderly.example")] * 3

    codes = [(await ask(service, each)).json().get("code") for each in headers]

    assert codes == [None] * 5 + ["rate_limited"]

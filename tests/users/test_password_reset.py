"""Resetting a password with the token of a mailed link, and taking over an account that nobody had verified."""

import asyncio
from typing import Any

import httpx2
import sqlalchemy as sa

from tests.harness.asgi import client_of
from tests.harness.databases import until_waiting
from tests.harness.executed_statements import executed_statements
from tests.harness.problems import problem
from tests.harness.rows import Rows
from tests.users.mails import (
    CHANGE,
    RESET,
    ask_for_reset,
    mailed_token,
    mails,
    move_back,
    run_jobs,
    security_events,
    types_of_events,
)
from tests.users.second_factors import User
from tests.users.service import ADA, PASSWORD, UsersService, bearer

NEW = "another good password"


async def reset(service: UsersService, token: str, password: str = NEW) -> httpx2.Response:
    body = {"token": token, "new_password": password}
    return await service.http.post("/v1/password-resets/confirmation", json=body)


async def sign_up_verified(service: UsersService, **changes: Any) -> dict[str, Any]:
    user = await service.sign_up(**changes)
    async with service.sessions.begin() as session:
        await session.execute(sa.text("UPDATE user_account SET email_verified_at = now()"))
    return user


async def sign_in(service: UsersService, password: str) -> httpx2.Response:
    return await service.http.post("/v1/sessions", json={"email": ADA["email"], "password": password})


async def test_the_token_of_the_mail_sets_a_new_password_and_ends_all_sessions(service: UsersService) -> None:
    user = await sign_up_verified(service)
    tokens = await service.sign_in()
    await ask_for_reset(service, "ada@ORDERLY.example")
    (mail,) = await mails(service, RESET)

    response = await reset(service, mail.token)

    assert mail.email == ADA["email"]
    assert (response.status_code, response.content) == (204, b"")
    assert problem(await sign_in(service, PASSWORD)) == (401, "credentials_invalid")
    refreshed = await service.http.post("/v1/sessions/refresh", json={"refresh_token": tokens["refresh_token"]})
    assert problem(refreshed) == (401, "refresh_token_invalid")
    assert (await service.events())[1:] == [("user.password_changed", {"user_id": user["id"]})]
    assert await security_events(service) == [
        ("password_reset_requested", "anonymous", {}),
        ("password_reset", user["id"], {"is_taken_over": False}),
    ]
    me = await service.http.get("/v1/users/me", headers=bearer(await service.sign_in(password=NEW)))
    assert (me.json()["name"], me.headers["etag"]) == (ADA["name"], '"1"')


async def test_a_reset_is_answered_alike_by_the_same_statements_whether_or_not_there_is_an_account(
    service: UsersService,
) -> None:
    await sign_up_verified(service)
    engine = service.sessions.kw["bind"]
    answers = []
    for email in (ADA["email"], "nobody@orderly.example", ADA["email"], "stranger@orderly.example"):
        with executed_statements(engine) as statements:
            response = await service.http.post("/v1/password-resets", json={"email": email})
        answers.append((response.status_code, response.json(), statements))

    first, *others = answers[2:]  # the first requests also prepare
    assert first[:2] == (202, {"expires_in": 3600})
    assert len(first[2]) == 1
    assert others == [first]
    assert await types_of_events(service) == []  # everything else is done after the response
    await run_jobs(service)
    assert [mail.email for mail in await mails(service, RESET)] == [ADA["email"]] * 2


async def test_a_waiting_job_does_not_show_the_address(service: UsersService) -> None:
    await service.http.post("/v1/password-resets", json={"email": ADA["email"]})

    ((payload,),) = await Rows(service.sessions).of("SELECT encode(payload, 'escape') FROM pgqueuer")

    assert ADA["email"] not in payload
    assert "127.0.0.1" not in payload


async def test_of_simultaneous_uses_of_a_token_one_sets_its_password(service: UsersService) -> None:
    await sign_up_verified(service)
    await ask_for_reset(service, ADA["email"])
    token = await mailed_token(service, RESET)

    async with service.sessions.begin() as session:
        await session.execute(sa.text("SELECT FROM user_account FOR UPDATE"))
        uses = asyncio.gather(*(reset(service, token, f"good password {number}") for number in range(3)))
        await until_waiting(service.sessions, transactions=3)

    statuses = [response.status_code for response in await uses]
    assert sorted(statuses) == [204, 410, 410]
    await service.sign_in(password=f"good password {statuses.index(204)}")


async def test_an_expired_and_a_replaced_token_set_no_password(service: UsersService) -> None:
    await sign_up_verified(service)
    await ask_for_reset(service, ADA["email"])
    replaced = await mailed_token(service, RESET)
    await ask_for_reset(service, ADA["email"])
    assert problem(await reset(service, replaced)) == (410, "one_time_token_invalid")

    await move_back(service, hours=1)

    assert problem(await reset(service, await mailed_token(service, RESET))) == (410, "one_time_token_invalid")
    await service.sign_in()


async def test_a_weak_new_password_leaves_the_token_usable(service: UsersService) -> None:
    await sign_up_verified(service)
    await ask_for_reset(service, ADA["email"])
    token = await mailed_token(service, RESET)

    weak = await reset(service, token, "short")

    assert problem(weak) == (422, "validation_failed")
    assert token not in weak.text
    assert (await reset(service, token)).status_code == 204


async def test_a_user_gets_three_links_an_hour_and_more_requests_look_the_same(service: UsersService) -> None:
    await sign_up_verified(service)
    for _ in range(4):
        await ask_for_reset(service, ADA["email"])
    assert len(await mails(service, RESET)) == 3


async def test_requests_are_limited_per_address_and_network_whether_or_not_there_is_an_account(
    service: UsersService,
) -> None:
    await sign_up_verified(service)
    for email in (ADA["email"], "nobody@orderly.example"):
        codes = [
            (await service.http.post("/v1/password-resets", json={"email": email})).json().get("code") for _ in range(6)
        ]
        assert codes == [None] * 5 + ["rate_limited"]

    statuses = []
    for number in range(20):  # after the 12 from 127.0.0.1, on another network: 2 of its addresses in turn
        async with client_of(service.app, address=f"2001:db8:0:1::{number % 2}") as http:
            body = {"email": f"user{number}@orderly.example"}
            statuses += [(await http.post("/v1/password-resets", json=body)).status_code for _ in range(2)]
    assert statuses == [202] * 20 + [429] * 20


async def test_a_suspended_account_gets_no_link_and_its_open_one_no_longer_works(service: UsersService) -> None:
    await sign_up_verified(service)
    await ask_for_reset(service, ADA["email"])
    token = await mailed_token(service, RESET)
    async with service.sessions.begin() as session:
        await session.execute(sa.text("UPDATE user_account SET status = 'suspended'"))

    await ask_for_reset(service, ADA["email"])

    assert len(await mails(service, RESET)) == 1
    assert problem(await reset(service, token)) == (410, "one_time_token_invalid")


async def test_a_reset_lets_an_open_change_of_the_address_no_longer_work(service: UsersService) -> None:
    """Somebody who guessed the password may have asked for it, to take the account away later."""
    await sign_up_verified(service)
    body = {"email": "eve@orderly.example"}
    await service.http.post("/v1/users/me/email-change", json=body, headers=bearer(await service.sign_in()))
    await ask_for_reset(service, ADA["email"])
    await reset(service, await mailed_token(service, RESET))

    response = await service.http.post(
        "/v1/email-changes", json={"token": await mailed_token(service, CHANGE), "password": PASSWORD}
    )

    assert problem(response) == (410, "one_time_token_invalid")


async def test_whoever_proves_an_unverified_address_takes_the_account_over(service: UsersService) -> None:
    squatter = await service.sign_up(
        name="Eve", phone="+442071838750", locale="de", time_zone="Europe/Berlin", password="the squatter's own"
    )
    tokens = await service.sign_in(password="the squatter's own")
    body = {"email": "eve@orderly.example"}
    await service.http.post("/v1/users/me/email-change", json=body, headers=bearer(tokens))

    sign_up = await service.http.post("/v1/users", json=ADA)
    await run_jobs(service)
    response = await reset(service, await mailed_token(service, RESET), PASSWORD)

    assert problem(sign_up) == (409, "email_taken")
    assert response.status_code == 204
    user = (await service.http.get("/v1/users/me", headers=bearer(await service.sign_in()))).json()
    expected = {"name": "Customer", "phone": None, "locale": "en", "time_zone": "UTC"}
    assert user == squatter | expected | {k: user[k] for k in ("email_verified_at", "updated_at")}
    assert user["email_verified_at"] == user["updated_at"] > squatter["updated_at"]
    assert problem(await sign_in(service, "the squatter's own")) == (401, "credentials_invalid")
    refreshed = await service.http.post("/v1/sessions/refresh", json={"refresh_token": tokens["refresh_token"]})
    assert problem(refreshed) == (401, "refresh_token_invalid")
    changed = await service.http.post(
        "/v1/email-changes", json={"token": await mailed_token(service, CHANGE), "password": PASSWORD}
    )
    assert problem(changed) == (410, "one_time_token_invalid")
    _, _, (updated, data), *others = await service.events()
    assert (updated, data["name"], data["phone"]) == ("user.updated", "Customer", None)
    assert [type_ for type_, _ in others] == ["user.email_verified", "user.password_changed"]
    assert (await security_events(service))[-1] == ("password_reset", user["id"], {"is_taken_over": True})


async def test_whoever_takes_an_account_over_gets_no_bio_and_no_known_device_of_the_first_owner(
    service: UsersService,
) -> None:
    await service.sign_up()
    headers = bearer(await service.sign_in()) | {"If-Match": "*"}
    written = await service.http.patch("/v1/users/me", json={"bio": "Call 0900 666"}, headers=headers)
    assert written.json()["bio"] is not None
    assert await Rows(service.sessions).of("SELECT count(*) FROM known_device") == [(1,)]

    await ask_for_reset(service, ADA["email"])
    response = await reset(service, await mailed_token(service, RESET))

    assert response.status_code == 204
    assert await Rows(service.sessions).of("SELECT bio FROM user_account") == [(None,)]
    assert await Rows(service.sessions).of("SELECT count(*) FROM known_device") == [(0,)]


async def test_a_sign_up_for_a_verified_address_mails_nothing(service: UsersService) -> None:
    await sign_up_verified(service)

    assert problem(await service.http.post("/v1/users", json=ADA)) == (409, "email_taken")
    await run_jobs(service)

    assert await service.events() == []


async def test_whoever_takes_an_account_over_needs_no_second_factor_of_the_first_owner(ada: User) -> None:
    await ada.add_totp()
    await ada.add_passkey()

    await ask_for_reset(ada.service, ADA["email"])
    assert (await reset(ada.service, await mailed_token(ada.service, RESET), PASSWORD)).status_code == 204

    ada.header = bearer((await ada.sign_in()).json())
    assert await ada.methods() == {"password": True, "totp": False, "passkeys": 0, "recovery_codes": 0}


async def test_a_reset_keeps_the_second_factor_and_ends_half_of_a_sign_in(ada: User) -> None:
    await ada.execute("UPDATE user_account SET email_verified_at = now()")
    await ada.add_totp()
    challenge = await ada.challenge()

    await ask_for_reset(ada.service, ADA["email"])
    assert (await reset(ada.service, await mailed_token(ada.service, RESET), PASSWORD)).status_code == 204

    assert problem(await ada.answer(challenge, code=ada.code())) == (401, "challenge_invalid")
    assert problem(await ada.sign_in()) == (401, "second_factor_required")

"""Verifying an e-mail address with the token of a mailed link."""

import asyncio
import json

import httpx2
import sqlalchemy as sa

from services.users import jobs
from tests.harness.databases import until_waiting
from tests.harness.problems import problem
from tests.harness.rows import Rows
from tests.users.mails import VERIFICATION, mailed_token, mails, move_back, security_events, types_of_events
from tests.users.service import ADA, PASSWORD, UsersService, bearer

AGAIN = "/v1/users/me/email-verification"
NEW = "another good password"


async def verify(service: UsersService, token: str, *, password: str = PASSWORD) -> httpx2.Response:
    return await service.http.post("/v1/email-verifications", json={"token": token, "password": password})


async def confirm(service: UsersService, token: str, *, header: dict[str, str]) -> httpx2.Response:
    """Verify the address of a signed-in user."""
    return await service.http.post(f"{AGAIN}/confirmation", json={"token": token}, headers=header)


async def test_a_sign_up_asks_for_a_mail_that_verifies_the_address(service: UsersService) -> None:
    user = await service.sign_up(locale="de")

    ((_, data),) = await service.events(without=("user.created",))

    assert data == {
        "user_id": user["id"],
        "email": ADA["email"],
        "token": data["token"],
        "locale": "de",
        "expires_at": data["expires_at"],
    }
    (mail,) = await mails(service, VERIFICATION)
    assert mail.email == ADA["email"]
    assert len(mail.token) == 43
    stored = await Rows(service.sessions).of(
        "SELECT token_hash = sha256(CAST(:token AS bytea)), email, expires_at - created_at = interval '24 hours' "
        "FROM one_time_token",
        token=mail.token.encode(),
    )
    assert stored == [(True, ADA["email"], True)]


async def test_the_token_of_the_mail_verifies_the_address_once(service: UsersService) -> None:
    header = await service.sign_up_and_in()
    token = await mailed_token(service, VERIFICATION)

    response = await verify(service, token)

    assert (response.status_code, response.content) == (204, b"")
    me = (await service.http.get("/v1/users/me", headers=header)).json()
    assert me["email_verified_at"] == me["updated_at"] > me["created_at"]
    (updated, profile), verified = await service.events()
    assert (updated, profile["email_verified"]) == ("user.updated", True)
    assert verified == ("user.email_verified", {"user_id": me["id"]})
    assert await security_events(service) == [("email_verified", me["id"], {})]
    assert problem(await verify(service, token)) == (410, "one_time_token_invalid")
    assert len(await service.events()) == 2


async def test_a_token_alone_verifies_nothing(service: UsersService) -> None:
    """A stranger may have signed up with the address of whoever opens the link, or of a program that does."""
    header = await service.sign_up_and_in()
    token = await mailed_token(service, VERIFICATION)

    alone = await service.http.post("/v1/email-verifications", json={"token": token})
    wrong = await verify(service, token, password="a wrong guess")

    assert problem(alone) == (422, "validation_failed")
    assert problem(wrong) == (403, "password_wrong")
    assert (await service.http.get("/v1/users/me", headers=header)).json()["email_verified_at"] is None
    assert (await verify(service, token)).status_code == 204


async def test_guesses_with_a_token_are_limited_and_an_invalid_token_is_no_guess(service: UsersService) -> None:
    await service.sign_up()
    token = await mailed_token(service, VERIFICATION)

    unknown = [problem(await verify(service, "no-such-token", password="a wrong guess")) for _ in range(4)]
    guesses = [problem(await verify(service, token, password="a wrong guess")) for _ in range(4)]

    assert unknown == [(410, "one_time_token_invalid")] * 4
    assert guesses == [(403, "password_wrong")] * 3 + [(429, "too_many_attempts")]


async def test_the_session_of_the_account_stands_for_its_password(service: UsersService) -> None:
    header = await service.sign_up_and_in()
    token = await mailed_token(service, VERIFICATION)
    other = await service.sign_up_and_in(email="eve@orderly.example")

    refused = await confirm(service, token, header=other)
    confirmed = await confirm(service, token, header=header)

    assert problem(refused) == (410, "one_time_token_invalid")
    assert (confirmed.status_code, confirmed.content) == (204, b"")
    assert (await service.http.get("/v1/users/me", headers=header)).json()["email_verified_at"] is not None
    assert (await service.http.get("/v1/users/me", headers=other)).json()["email_verified_at"] is None


async def test_a_new_password_takes_the_account_over(service: UsersService) -> None:
    header = await service.sign_up_and_in()
    token = await mailed_token(service, VERIFICATION)
    body = {"token": token, "new_password": NEW}

    response = await service.http.post("/v1/email-verifications/new-password", json=body)

    assert (response.status_code, response.content) == (204, b"")
    assert (await service.http.get("/v1/users/me", headers=header)).status_code == 401
    credentials = {"email": ADA["email"], "password": PASSWORD}
    assert problem(await service.http.post("/v1/sessions", json=credentials)) == (401, "credentials_invalid")
    header = bearer(await service.sign_in(password=NEW))
    me = (await service.http.get("/v1/users/me", headers=header)).json()
    assert (me["name"], me["email_verified_at"]) == ("Customer", me["updated_at"])
    assert await types_of_events(service) == ["user.updated", "user.email_verified", "user.password_changed"]
    assert await security_events(service) == [
        ("email_verified", me["id"], {}),
        ("password_reset", me["id"], {"is_taken_over": True}),
    ]
    again = await service.http.post("/v1/email-verifications/new-password", json=body)
    assert problem(again) == (410, "one_time_token_invalid")


async def test_a_known_password_takes_nothing_over_and_leaves_the_token_usable(service: UsersService) -> None:
    await service.sign_up()
    token = await mailed_token(service, VERIFICATION)

    body = {"token": token, "new_password": "password1234"}
    refused = await service.http.post("/v1/email-verifications/new-password", json=body)

    assert problem(refused)[0] == 422
    assert (await verify(service, token)).status_code == 204


async def test_a_password_that_is_changed_meanwhile_verifies_nothing(service: UsersService) -> None:
    await service.sign_up()
    token = await mailed_token(service, VERIFICATION)

    async with service.sessions.begin() as session:
        await session.execute(sa.text("UPDATE user_account SET password_hash = 'another'"))
        verifying = asyncio.create_task(verify(service, token))
        await until_waiting(service.sessions, transactions=1)

    assert problem(await verifying) == (403, "password_wrong")
    assert await service.events() == []


async def test_of_simultaneous_uses_of_a_token_one_succeeds(service: UsersService) -> None:
    header = await service.sign_up_and_in()
    token = await mailed_token(service, VERIFICATION)

    async with service.sessions.begin() as session:
        # Hold the account until every request has read the token.
        await session.execute(sa.text("SELECT FROM user_account FOR UPDATE"))
        uses = asyncio.gather(*(confirm(service, token, header=header) for _ in range(4)))
        await until_waiting(service.sessions, transactions=4)

    assert sorted(response.status_code for response in await uses) == [204, 410, 410, 410]
    assert await types_of_events(service) == ["user.updated", "user.email_verified"]


async def test_an_expired_token_verifies_nothing(service: UsersService) -> None:
    await service.sign_up()
    await move_back(service, hours=24)

    response = await verify(service, await mailed_token(service, VERIFICATION))

    assert problem(response) == (410, "one_time_token_invalid")
    assert await service.events() == []


async def test_an_unknown_token_is_answered_like_a_used_one_and_never_repeated(service: UsersService) -> None:
    await service.sign_up()

    response = await verify(service, "no-such-token")

    assert problem(response) == (410, "one_time_token_invalid")
    assert "no-such-token" not in response.text
    too_long = await verify(service, "secret" * 20)
    assert problem(too_long) == (422, "validation_failed")
    assert "secret" not in too_long.text


async def test_half_of_a_surrogate_pair_is_no_token(service: UsersService) -> None:
    body = json.dumps({"token": "\ud800", "password": PASSWORD})
    headers = {"Content-Type": "application/json"}
    response = await service.http.post("/v1/email-verifications", content=body, headers=headers)
    assert problem(response) == (422, "validation_failed")


async def test_a_token_for_another_purpose_verifies_nothing(service: UsersService) -> None:
    await service.sign_up()
    token = await mailed_token(service, VERIFICATION)

    body = {"token": token, "new_password": "another good password"}
    assert problem(await service.http.post("/v1/password-resets/confirmation", json=body)) == (
        410,
        "one_time_token_invalid",
    )
    assert problem(await service.http.post("/v1/email-changes", json={"token": token, "password": PASSWORD})) == (
        410,
        "one_time_token_invalid",
    )
    assert (await verify(service, token)).status_code == 204


async def test_another_mail_replaces_the_token_of_the_first(service: UsersService) -> None:
    header = await service.sign_up_and_in()

    response = await service.http.post(AGAIN, headers=header)

    assert (response.status_code, response.json()) == (202, {"expires_in": 86_400})
    first, second = await mails(service, VERIFICATION)
    assert (first.email, second.email) == (ADA["email"], ADA["email"])
    assert problem(await verify(service, first.token)) == (410, "one_time_token_invalid")
    assert (await verify(service, second.token)).status_code == 204
    assert problem(await service.http.post(AGAIN, headers=header)) == (409, "email_already_verified")


async def test_a_user_gets_three_mails_an_hour(service: UsersService) -> None:
    header = await service.sign_up_and_in()
    again = [(await service.http.post(AGAIN, headers=header)).status_code for _ in range(2)]

    limited = await service.http.post(AGAIN, headers=header)

    assert again == [202, 202]
    assert problem(limited) == (429, "too_many_links")
    assert 3_590 <= int(limited.headers["retry-after"]) <= 3_600
    await move_back(service, hours=1)
    assert (await service.http.post(AGAIN, headers=header)).status_code == 202


async def test_a_suspended_account_is_not_verified(service: UsersService) -> None:
    header = await service.sign_up_and_in()
    async with service.sessions.begin() as session:
        await session.execute(sa.text("UPDATE user_account SET status = 'suspended'"))

    assert problem(await verify(service, await mailed_token(service, VERIFICATION))) == (410, "one_time_token_invalid")
    assert problem(await service.http.post(AGAIN, headers=header)) == (403, "account_inactive")


async def test_expired_tokens_are_purged_once_no_limit_counts_them(service: UsersService) -> None:
    await service.sign_up()
    for hours, left in ((24, 1), (2, 0)):
        await move_back(service, hours=hours)
        await jobs.purge_expired_one_time_tokens(service.sessions)
        assert await Rows(service.sessions).count("one_time_token") == left

"""Setting a password in a session that has authenticated recently."""

from typing import Any

import httpx2

from tests.harness.problems import problem
from tests.users.mails import RESET, ask_for_reset, mailed_token, security_events
from tests.users.service import PASSWORD, UsersService, bearer

NEW = "another good password"


async def change(service: UsersService, tokens: dict[str, Any], **changes: str) -> httpx2.Response:
    body = {"new_password": NEW} | changes
    return await service.http.put("/v1/users/me/password", json=body, headers=bearer(tokens))


async def refresh(service: UsersService, tokens: dict[str, Any]) -> httpx2.Response:
    return await service.http.post("/v1/sessions/refresh", json={"refresh_token": tokens["refresh_token"]})


async def test_a_change_ends_the_other_sessions_and_is_told(service: UsersService) -> None:
    user = await service.sign_up()
    here, elsewhere = await service.sign_in(), await service.sign_in()

    response = await change(service, here)

    assert (response.status_code, response.content) == (204, b"")
    assert await service.events() == [("user.password_changed", {"user_id": user["id"]})]
    assert await security_events(service) == [("password_changed", user["id"], {})]
    assert problem(await refresh(service, elsewhere)) == (401, "refresh_token_invalid")
    assert (await refresh(service, here)).status_code == 200
    me = await service.http.get("/v1/users/me", headers=bearer(await service.sign_in(password=NEW)))
    assert (me.json(), me.headers["etag"]) == (user, '"1"')


async def test_an_open_link_that_resets_the_password_no_longer_works(service: UsersService) -> None:
    user = await service.sign_up()
    await ask_for_reset(service, user["email"])
    await change(service, await service.sign_in())

    body = {"token": await mailed_token(service, RESET), "new_password": "yet another password"}
    response = await service.http.post("/v1/password-resets/confirmation", json=body)

    assert problem(response) == (410, "one_time_token_invalid")


async def test_no_password_is_in_an_error(service: UsersService) -> None:
    await service.sign_up()
    tokens = await service.sign_in()

    response = await change(service, tokens, new_password="tiny")

    assert problem(response) == (422, "validation_failed")
    assert [error["pointer"] for error in response.json()["errors"]] == ["/new_password"]
    assert "tiny" not in response.text
    assert PASSWORD not in response.text

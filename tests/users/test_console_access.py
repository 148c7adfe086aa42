"""The sign-in of a deployed console, with the users service that it asks."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from deploy.console.app import create_app
from deploy.console.settings import ConsoleSettings
from tests.harness.asgi import client_of, served
from tests.users.second_factors import User, signed_in_user
from tests.users.service import ADA, PASSWORD, UsersService

SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}
CREDENTIALS = {"email": ADA["email"], "password": PASSWORD}


@pytest.fixture
async def console(service: UsersService, tmp_path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of a deployed console, as a browser: it keeps cookies."""
    async with served(service.app) as users_url:
        settings = ConsoleSettings(
            folder=tmp_path,
            gateway_url=users_url,
            users_url=users_url,
            orders_url="http://127.0.0.1:1",
            notifications_url="http://127.0.0.1:1",
            users_token="the token of orders",
            otlp_port=0,
        )
        app = create_app(settings)
        async with app.router.lifespan_context(app), client_of(app) as client:
            yield client


async def test_an_admin_signs_in_with_a_second_factor_and_out(
    service: UsersService, console: httpx2.AsyncClient
) -> None:
    asked = await console.get("/")
    assert (asked.status_code, asked.headers["location"]) == (303, "/sign-in?next=%2F")

    admin = await _admin(service)
    await admin.add_totp()
    form = await console.post("/sign-in", data={**CREDENTIALS, "next": "/flow"}, headers=SAME_ORIGIN)
    challenge = form.text.partition('name="challenge" value="')[2].partition('"')[0]
    wrong = await console.post(
        "/sign-in/second-factor", data={"challenge": challenge, "code": admin.wrong_code()}, headers=SAME_ORIGIN
    )
    assert (wrong.status_code, "console_access" in str(wrong.headers)) == (401, False)
    right = {"challenge": challenge, "code": admin.code(), "next": "/flow"}
    signed_in = await console.post("/sign-in/second-factor", data=right, headers=SAME_ORIGIN)

    assert (signed_in.status_code, signed_in.headers["location"]) == (303, "/flow")
    assert all("HttpOnly" in each and "SameSite=strict" in each for each in signed_in.headers.get_list("set-cookie"))
    assert (await console.get("/")).status_code == 200
    assert (await console.get("/break-it")).status_code == 403
    await console.post("/sign-out", headers=SAME_ORIGIN)
    assert (await console.get("/")).status_code == 303


async def test_only_admins_may_use_it(service: UsersService, console: httpx2.AsyncClient) -> None:
    await service.sign_up()
    await console.post("/sign-in", data=CREDENTIALS, headers=SAME_ORIGIN)
    refused = await console.get("/api/v1/system")
    assert (refused.status_code, refused.json()["code"]) == (403, "not_an_admin")

    console.cookies.clear()
    anonymous = await console.get("/api/v1/system")
    assert (anonymous.status_code, anonymous.json()["code"]) == (401, "sign_in_required")
    admin = await service.header_with("admin", email="admin@orderly.example")
    assert (await console.get("/api/v1/system", headers=admin)).status_code == 200


async def test_a_page_of_another_site_changes_nothing(service: UsersService, console: httpx2.AsyncClient) -> None:
    await service.sign_up()
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
        refused = await console.post("/sign-in", data=CREDENTIALS, headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (403, "foreign_origin")


async def test_a_browser_whose_token_has_expired_stays_signed_in_until_its_session_ends(
    service: UsersService, console: httpx2.AsyncClient
) -> None:
    admin = await _admin(service)
    await console.post("/sign-in", data=CREDENTIALS, headers=SAME_ORIGIN)
    console.cookies.delete("orderly_console_access")
    assert (await console.get("/")).status_code == 200

    await service.http.delete("/v1/sessions", headers=admin.header)
    console.cookies.delete("orderly_console_access")
    assert (await console.get("/")).status_code == 303
    assert "orderly_console_refresh" not in console.cookies


async def _admin(service: UsersService) -> User:
    """Sign Ada up, make her an admin, and sign her in."""
    user = await signed_in_user(service)
    await user.execute(
        "UPDATE user_account SET roles = ARRAY['customer', 'admin'] WHERE email = :email", email=ADA["email"]
    )
    return user

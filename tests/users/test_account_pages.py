"""The pages of accounts over HTTP: the browser's session, its cookies, and what forms refuse."""

import re
from datetime import timedelta
from http.cookies import SimpleCookie
from typing import Any

import httpx2
import pytest

from services.users.models.sessions import RefreshToken
from services.users.pages.browser_session import ACCESS_COOKIE, REFRESH_COOKIE
from tests.harness.waiting import until
from tests.users.account_pages import CREDENTIALS, SAME_ORIGIN, send
from tests.users.second_factors import User
from tests.users.service import ADA, PASSWORD, UsersService


def cookies_of(response: httpx2.Response) -> dict[str, dict[str, Any]]:
    """Return the cookies that a response sets, with their attributes."""
    cookies: SimpleCookie = SimpleCookie()
    for header in response.headers.get_list("set-cookie"):
        cookies.load(header)
    return {name: {"value": morsel.value} | dict(morsel.items()) for name, morsel in cookies.items()}


@pytest.fixture
async def signed_in(service: UsersService) -> UsersService:
    """The service, with a client that has signed in on the pages."""
    await service.sign_up()
    assert (await send(service, "/sign-in", **CREDENTIALS)).status_code == 303
    return service


async def test_tokens_are_in_cookies_that_only_the_pages_get(service: UsersService) -> None:
    await service.sign_up()

    response = await send(service, "/sign-in", **CREDENTIALS)

    assert (response.status_code, response.headers["location"]) == (303, "/account")
    cookies = cookies_of(response)
    assert cookies.keys() == {ACCESS_COOKIE, REFRESH_COOKIE, "orderly_device"}
    for name in (ACCESS_COOKIE, REFRESH_COOKIE):
        attributes = [cookies[name][attribute] for attribute in ("path", "httponly", "samesite", "secure")]
        assert attributes == ["/account", True, "strict", ""]
    assert response.headers["cache-control"] == "no-store"
    assert (await service.http.get("/v1/users/me")).status_code == 401, "the API takes no cookies"


async def test_cookies_are_secure_under_https(service: UsersService) -> None:
    await service.sign_up()

    response = await service.http.post("https://service/account/sign-in", data=CREDENTIALS, headers=SAME_ORIGIN)

    assert [cookies_of(response)[name]["secure"] for name in (ACCESS_COOKIE, REFRESH_COOKIE)] == [True, True]


async def test_a_page_without_a_session_leads_to_the_sign_in_and_back(service: UsersService) -> None:
    await service.sign_up()

    asked = await service.http.get("/account/sessions")
    page = await service.http.get(asked.headers["location"])
    response = await send(service, "/sign-in", **CREDENTIALS, next="/account/sessions")

    assert (asked.status_code, asked.headers["location"]) == (303, "/account/sign-in?next=%2Faccount%2Fsessions")
    assert 'name="next" value="/account/sessions"' in page.text
    assert response.headers["location"] == "/account/sessions"


@pytest.mark.parametrize(
    "address",
    [
        "https://evil.example",
        "//evil.example",
        "/account//evil.example",
        "/account\\evil.example",
        "/account/../v1",
        "/accounts",
        "/account@evil.example",
        "/account?next=https://evil.example",
        "/account\nSet-Cookie: a=b",
        "javascript:alert(1)",
        "",
    ],
)
async def test_a_sign_in_leads_to_no_foreign_address(service: UsersService, address: str) -> None:
    await service.sign_up()

    page = await service.http.get("/account/sign-in", params={"next": address})
    response = await send(service, "/sign-in", **CREDENTIALS, next=address)

    assert re.findall('name="next" value="(.*?)"', page.text) == ["/account", "/account"]
    assert response.headers["location"] == "/account"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "same-origin", "Origin": "null"}, 303),
        ({"Sec-Fetch-Site": "none"}, 303),
        ({"Origin": "http://service"}, 303),
        ({"Origin": "http://localhost:8080"}, 303),
        ({}, 303),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost:8080"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
async def test_a_form_of_another_site_is_refused(service: UsersService, headers: dict[str, str], status: int) -> None:
    await service.sign_up()

    response = await service.http.post("/account/sign-in", data=CREDENTIALS, headers=headers)

    assert response.status_code == status
    assert (ACCESS_COOKIE in cookies_of(response)) == (status == 303)


async def test_a_page_refreshes_an_expired_access_token_and_two_tabs_get_the_same_one(signed_in: UsersService) -> None:
    http = signed_in.http
    http.cookies.delete(ACCESS_COOKIE)
    used = http.cookies[REFRESH_COOKIE]

    first, second = [await http.get("/account", headers={"Cookie": f"{REFRESH_COOKIE}={used}"}) for _ in range(2)]

    assert (first.status_code, second.status_code) == (200, 200)
    renewed = [cookies_of(response) for response in (first, second)]
    assert renewed[0][REFRESH_COOKIE]["value"] == renewed[1][REFRESH_COOKIE]["value"] != used
    assert renewed[0][ACCESS_COOKIE]["value"]
    assert (await http.get("/account")).status_code == 200


async def test_a_redirect_carries_the_renewed_tokens_too(signed_in: UsersService) -> None:
    signed_in.http.cookies.delete(ACCESS_COOKIE)

    response = await send(signed_in, "/sessions/others/end")

    assert response.status_code == 303
    assert cookies_of(response).keys() == {ACCESS_COOKIE, REFRESH_COOKIE}


async def test_a_refresh_token_that_was_used_long_ago_ends_the_session(signed_in: UsersService) -> None:
    http = signed_in.http
    used = {"Cookie": f"{REFRESH_COOKIE}={http.cookies[REFRESH_COOKIE]}"}
    await http.get("/account", headers=used)
    await signed_in.shift(RefreshToken.used_at, by=timedelta(minutes=1))

    response = await http.get("/account", headers=used)

    assert response.headers["location"] == "/account/sign-in?next=%2Faccount"
    assert {name: cookie["max-age"] for name, cookie in cookies_of(response).items()} == {
        ACCESS_COOKIE: "0",
        REFRESH_COOKIE: "0",
    }


async def test_a_revoked_session_ends_on_the_pages_too(signed_in: UsersService) -> None:
    tokens = await signed_in.sign_in()
    header = {"Authorization": f"Bearer {tokens['access_token']}"}
    assert (await signed_in.http.delete("/v1/sessions", headers=header)).status_code == 204

    async def is_asked_to_sign_in() -> bool:
        response = await signed_in.http.get("/account")
        return response.headers.get("location") == "/account/sign-in?next=%2Faccount"

    await until(is_asked_to_sign_in, what="the pages refuse the session")


async def test_a_sign_out_ends_the_session(signed_in: UsersService) -> None:
    refresh_token = signed_in.http.cookies[REFRESH_COOKIE]

    response = await send(signed_in, "/sign-out")

    assert response.headers["location"] == "/account/sign-in?done=signed-out"
    assert {ACCESS_COOKIE, REFRESH_COOKIE}.isdisjoint(signed_in.http.cookies)
    assert (await signed_in.refresh({"refresh_token": refresh_token})).status_code == 401


async def test_a_wrong_password_has_the_status_of_the_api_and_keeps_the_address(service: UsersService) -> None:
    await service.sign_up()

    response = await send(service, "/sign-in", email=ADA["email"], password="wrong password")

    assert response.status_code == 401
    assert "The e-mail address or the password is wrong." in response.text
    assert f'value="{ADA["email"]}"' in response.text
    assert "wrong password" not in response.text


async def test_a_sign_up_explains_each_field_and_works_once(service: UsersService) -> None:
    fields = {"email": "grace@orderly.example", "name": "https://evil.example", "password": "short", "key": "k" * 20}

    refused = await send(service, "/sign-up", **fields)
    fields |= {"name": "Grace Hopper", "password": PASSWORD}
    made = [await send(service, "/sign-up", **fields) for _ in range(2)]
    taken = await send(service, "/sign-up", **fields | {"key": "another key of the form"})

    assert refused.status_code == 422
    assert refused.text.count('role="alert"') == 2
    assert "short" not in re.sub(r"<p .*?</p>", "", refused.text)
    assert [response.headers["location"] for response in made] == ["/account/sign-in?done=signed-up"] * 2
    assert (taken.status_code, "There is an account with this address already" in taken.text) == (409, True)


async def test_a_profile_that_was_changed_elsewhere_is_not_overwritten(signed_in: UsersService) -> None:
    header = {"Authorization": f"Bearer {signed_in.http.cookies[ACCESS_COOKIE]}"}
    profile = {
        "name": "Ada King",
        "locale": "en-GB",
        "time_zone": "Europe/London",
        "phone": "+44 20 7183 8750",
    }
    await signed_in.http.patch("/v1/users/me", json={"bio": "New"}, headers={**header, "If-Match": "*"})

    late = await send(signed_in, "", **profile, version="1")
    saved = await send(signed_in, "", **profile, version="2")

    assert late.status_code == 412
    assert ('value="Ada King"' in late.text, 'name="version" value="2"' in late.text) == (True, True)
    assert saved.headers["location"] == "/account?done=profile-saved"
    user = (await signed_in.http.get("/v1/users/me", headers=header)).json()
    assert {name: user[name] for name in profile} == {**profile, "phone": "+442071838750"}


async def test_a_sensitive_page_asks_who_the_user_is_and_leads_back(ada: User) -> None:
    service = ada.service
    await send(service, "/sign-in", **CREDENTIALS)
    await ada.session_ages()

    shown, sent = await service.http.get("/account/password"), await send(service, "/password", new_password=PASSWORD)
    wrong = await send(service, "/confirm-identity", password="wrong", next="/account/password")
    right = await send(service, "/confirm-identity", password=PASSWORD, next="/account/password")

    asking = "/account/confirm-identity?next=%2Faccount%2Fpassword"
    assert [response.headers["location"] for response in (shown, sent)] == [asking, asking]
    assert (wrong.status_code, right.headers["location"]) == (401, "/account/password")
    assert (await service.http.get("/account/password")).status_code == 200


@pytest.mark.parametrize("uri", ["", "otpauth://totp/", "\N{SNOWMAN}" * 1_000])
async def test_a_form_of_an_app_without_its_secret_begins_again(signed_in: UsersService, uri: str) -> None:
    await send(signed_in, "/authenticator-app/secret")

    response = await send(signed_in, "/authenticator-app", code="123456", uri=uri)

    assert (response.status_code, "Add an app" in response.text) == (422, True)


async def test_nobody_uses_the_objects_of_another_user(ada: User) -> None:
    service = ada.service
    await ada.add_passkey()
    passkey_id = (await ada.call("GET", "/passkeys")).json()["items"][0]["id"]
    export_id = (await ada.call("POST", "/exports")).json()["id"]
    session_id = (await service.http.get("/v1/sessions", headers=ada.header)).json()["items"][0]["id"]
    await service.sign_up(email="eve@orderly.example")
    await send(service, "/sign-in", email="eve@orderly.example", password=PASSWORD)

    responses = [
        await send(service, f"/passkeys/{passkey_id}/name", name="Mine"),
        await send(service, f"/passkeys/{passkey_id}/remove"),
        await service.http.get(f"/account/data/exports/{export_id}"),
    ]
    await send(service, f"/sessions/{session_id}/end")

    assert [response.status_code for response in responses] == [404, 404, 404]
    assert [each["name"] for each in (await ada.call("GET", "/passkeys")).json()["items"]] == ["Phone"]
    assert session_id in [
        each["id"] for each in (await service.http.get("/v1/sessions", headers=ada.header)).json()["items"]
    ]


async def test_a_hostile_name_is_escaped(signed_in: UsersService) -> None:
    response = await send(signed_in, "", name="<script>alert(1)</script>", locale="en", time_zone="UTC", version="1")
    page = await signed_in.http.get("/account")
    assert "<script>alert" not in response.text + page.text

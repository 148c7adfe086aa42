"""The pages to which the links of mails lead, over HTTP and in a real browser."""

import httpx2
import pytest
from playwright.async_api import Page, expect

from tests.harness.asgi import served
from tests.users.mails import CHANGE, RESET, VERIFICATION, ask_for_reset, mailed_token
from tests.users.service import ADA, PASSWORD, UsersService, bearer

NEW = "another good password"
PAGES = ("verify", "confirm-email", "reset-password")


async def send(service: UsersService, name: str, **fields: str) -> httpx2.Response:
    """Send a page's form."""
    return await service.http.post(f"/account/{name}", data=fields)


@pytest.mark.parametrize("name", PAGES)
async def test_opening_a_link_changes_nothing_and_keeps_the_token_to_the_page(service: UsersService, name: str) -> None:
    await service.sign_up()
    token = await mailed_token(service, VERIFICATION)

    response = await service.http.get(f"/account/{name}", params={"token": token})

    assert response.status_code == 200
    assert f'value="{token}"' in response.text
    assert (response.headers["cache-control"], response.headers["referrer-policy"]) == ("no-store", "no-referrer")
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert (await send(service, "verify", token=token, password=PASSWORD)).status_code == 200, "the token is unused"


@pytest.mark.parametrize("name", PAGES)
async def test_a_hostile_token_is_escaped(service: UsersService, name: str) -> None:
    response = await service.http.get(f"/account/{name}", params={"token": '"><script>alert(1)</script>'})
    assert "<script" not in response.text


async def test_the_form_verifies_the_address_once(service: UsersService) -> None:
    header = await service.sign_up_and_in()
    token = await mailed_token(service, VERIFICATION)

    first, again = [await send(service, "verify", token=token, password=PASSWORD) for _ in range(2)]

    assert (first.status_code, again.status_code) == (200, 410)
    assert "is confirmed" in first.text
    assert "does not work any more" in again.text
    assert (await service.http.get("/v1/users/me", headers=header)).json()["email_verified_at"] is not None


async def test_the_form_changes_the_address(service: UsersService) -> None:
    header = await service.sign_up_and_in()
    change = {"email": "new@orderly.example"}
    await service.http.post("/v1/users/me/email-change", json=change, headers=header)

    token = await mailed_token(service, CHANGE)

    refused = await send(service, "confirm-email", token=token, password="a wrong guess")
    changed = await send(service, "confirm-email", token=token, password=PASSWORD)

    assert refused.status_code == 403
    assert "password is wrong" in refused.text
    assert "has this e-mail address" in changed.text
    assert (await service.http.get("/v1/users/me", headers=header)).json()["email"] == "new@orderly.example"


@pytest.mark.parametrize(
    ("password", "message"), [("short", "10 to 128 characters"), ("password1234", "known from breaches")]
)
async def test_a_refused_password_is_explained_and_leaves_the_link_usable(
    service: UsersService, password: str, message: str
) -> None:
    await service.sign_up()
    await ask_for_reset(service, ADA["email"])
    token = await mailed_token(service, RESET)

    refused = await send(service, "reset-password", token=token, password=password)

    assert refused.status_code == 422
    assert message in refused.text
    assert password not in refused.text
    assert (await send(service, "reset-password", token=token, password=NEW)).status_code == 200


async def test_the_forms_of_a_verification_explain_what_they_refuse(service: UsersService) -> None:
    await service.sign_up()
    token = await mailed_token(service, VERIFICATION)

    wrong = [await send(service, "verify", token=token, password="a wrong guess") for _ in range(4)]
    known = await send(service, "verify-with-new-password", token=token, password="password1234")
    short = await send(service, "verify-with-new-password", token=token, password="short")
    no_token = await send(service, "verify-with-new-password", token="x" * 101, password=NEW)

    assert [response.status_code for response in wrong] == [403, 403, 403, 429]
    assert "password is wrong" in wrong[0].text
    assert "too many wrong passwords" in wrong[3].text
    assert "a wrong guess" not in wrong[0].text
    assert (known.status_code, short.status_code, no_token.status_code) == (422, 422, 410)
    assert "known from breaches" in known.text
    assert "10 to 128 characters" in short.text


async def test_whoever_did_not_sign_up_takes_the_account_over_in_a_browser(service: UsersService, page: Page) -> None:
    header = bearer(await _signed_up_and_in(service))
    token = await mailed_token(service, VERIFICATION)

    async with served(service.app) as url:
        await page.goto(f"{url}/account/verify?token={token}")
        await page.get_by_label("Your password").fill("a wrong guess")
        await page.get_by_role("button", name="Confirm the address", exact=True).click()
        await expect(page.get_by_role("alert")).to_have_text("This password is wrong.")
        await page.get_by_label("New password").fill(NEW)
        await page.get_by_role("button", name="Set the password and confirm the address").click()
        await expect(page.get_by_role("heading")).to_have_text("Address confirmed")

    assert (await service.http.get("/v1/users/me", headers=header)).status_code == 401
    await service.sign_in(password=NEW)


async def test_a_password_is_reset_in_a_browser(service: UsersService, page: Page) -> None:
    header = bearer(await _signed_up_and_in(service))
    await ask_for_reset(service, ADA["email"])
    token = await mailed_token(service, RESET)

    async with served(service.app) as url:
        await page.goto(f"{url}/account/reset-password?token={token}")
        await page.get_by_label("New password").fill("password1234")
        await page.get_by_role("button", name="Set the password").click()
        await expect(page.get_by_role("alert")).to_contain_text("known from breaches")
        await page.get_by_label("New password").fill(NEW)
        await page.get_by_role("button", name="Set the password").click()
        await expect(page.get_by_role("heading")).to_have_text("Password changed")

    assert (await service.http.get("/v1/users/me", headers=header)).status_code == 401
    await service.sign_in(password=NEW)


async def _signed_up_and_in(service: UsersService) -> dict[str, str]:
    await service.sign_up()
    return await service.sign_in()

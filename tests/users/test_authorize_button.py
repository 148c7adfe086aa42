"""The Authorize button of /docs signs in, in a real browser, with and without a gateway's prefix."""

import pytest
from fastapi import FastAPI
from playwright.async_api import Page, expect

from tests.harness.asgi import served
from tests.users.service import ADA, PASSWORD, UsersService


def with_prefix(app: FastAPI) -> FastAPI:
    """Return an application that passes the requests under a prefix on, as a gateway might."""
    gateway = FastAPI(openapi_url=None)
    gateway.mount("/api", app)
    return gateway


@pytest.mark.parametrize("prefix", ["", "/api"])
async def test_the_button_signs_in_and_the_page_sends_the_token(service: UsersService, page: Page, prefix: str) -> None:
    await service.sign_up()
    async with served(with_prefix(service.app) if prefix else service.app) as url:
        await page.goto(f"{url}{prefix}/docs")
        await page.get_by_role("button", name="Authorize").first.click()
        form = page.locator(".auth-container", has_text="OAuth2, password")
        await form.locator("#oauth_username").fill(ADA["email"])
        await form.locator("#oauth_password").fill(PASSWORD)
        await form.get_by_role("button", name="Apply given OAuth2 credentials").click()
        await expect(form.get_by_role("button", name="Remove authorization")).to_be_visible()
        await page.get_by_role("button", name="Close").last.click()

        operation = page.locator("#operations-users-read_own_user")
        await operation.locator(".opblock-summary").click()
        await operation.get_by_role("button", name="Try it out").click()
        async with page.expect_response("**/v1/users/me") as answered:
            await operation.get_by_role("button", name="Execute").click()

        assert (await (await answered.value).json())["email"] == ADA["email"]

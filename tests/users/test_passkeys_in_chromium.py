"""Passkeys in real Chromium, by the script that pages use, with a virtual authenticator."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, Route

import services.users
from tests.harness.browser import running_browser
from tests.harness.virtual_authenticator import VirtualAuthenticator, virtual_authenticator
from tests.users.second_factors import User
from tests.users.service import bearer

ORIGIN = "http://localhost:8080"
SCRIPT = Path(services.users.__file__).parent / "pages" / "static" / "passkeys.js"
PAGE = """
<!doctype html>
<title>Passkeys</title>
<script type="module">
  import * as passkeys from "/passkeys.js";
  async function post(path, body) {
    const headers = {"Content-Type": "application/json", ...window.authentication};
    const response = await fetch(path, {method: "POST", headers, body: body && JSON.stringify(body)});
    const text = await response.text();
    const answer = text ? JSON.parse(text) : null;
    if (!response.ok) throw new Error(answer.code);
    return answer;
  }
  const described = (error) => ({error: error.message, name: error.name});
  window.run = (name, ...values) => passkeys[name](post, ...values).catch(described);
  window.hasPasskeys = passkeys.hasPasskeys();
</script>
"""
WITHOUT_JSON = """
  delete PublicKeyCredential.parseCreationOptionsFromJSON;
  delete PublicKeyCredential.parseRequestOptionsFromJSON;
  delete PublicKeyCredential.prototype.toJSON;
"""


@dataclass
class Browser:
    """A page that uses the script, and Ada, whose token it sends."""

    page: Page
    authenticator: VirtualAuthenticator
    ada: User

    async def run(self, function: str, *values: Any) -> Any:
        """Call a function of the script, and return its result or its error."""
        await self.page.evaluate("(header) => { window.authentication = header }", self.ada.header)
        return await self.page.evaluate("([name, values]) => window.run(name, ...values)", [function, values])


@pytest.fixture
async def browser(ada: User) -> AsyncIterator[Browser]:
    async def serve(route: Route) -> None:
        """Serve the page and the script; pass everything else on to the service."""
        request, path = route.request, route.request.url.removeprefix(ORIGIN)
        if path == "/":
            await route.fulfill(body=PAGE, content_type="text/html")
        elif path == "/passkeys.js":
            await route.fulfill(body=SCRIPT.read_text(), content_type="text/javascript")
        else:
            response = await ada.service.http.request(
                request.method, path, content=request.post_data or b"", headers=request.headers
            )
            await route.fulfill(status=response.status_code, body=response.content, headers=dict(response.headers))

    async with running_browser() as chromium:
        page = await chromium.new_page()
        await page.route("**/*", serve)
        await page.goto(ORIGIN)
        await page.wait_for_function("window.hasPasskeys")
        yield Browser(page, await virtual_authenticator(page), ada)


async def test_a_passkey_of_a_browser_registers_signs_in_answers_and_steps_up(browser: Browser) -> None:
    ada = browser.ada

    registered = await browser.run("registerPasskey", "Laptop")

    assert (registered["passkey"]["name"], registered["passkey"]["transports"]) == ("Laptop", ["internal"])
    assert len(registered["recovery_codes"]) == 10
    assert (await browser.run("registerPasskey", "Laptop"))["name"] == "InvalidStateError"  # excludeCredentials
    challenge = await ada.challenge()
    assert (await browser.run("answerChallengeWithPasskey", challenge))["token_type"] == "Bearer"
    ada.header = bearer(await browser.run("signInWithPasskey"))
    await ada.session_ages()
    assert (await ada.call("DELETE", "/password")).json()["code"] == "step_up_required"
    assert await browser.run("stepUpWithPasskey") is None
    assert (await ada.call("DELETE", "/password")).status_code == 204
    ada.header = bearer(await browser.run("signInWithPasskey"))
    assert (await ada.call("GET", "")).json()["id"] == ada.id


async def test_a_browser_without_conversions_to_json_has_passkeys(browser: Browser) -> None:
    await browser.page.evaluate(WITHOUT_JSON)

    registered = await browser.run("registerPasskey", "Laptop")

    assert registered["passkey"]["transports"] == ["internal"]
    assert (await browser.run("registerPasskey", "Laptop"))["name"] == "InvalidStateError"
    assert (await browser.run("signInWithPasskey"))["token_type"] == "Bearer"


async def test_a_copied_passkey_and_an_unverified_user_do_not_sign_in(browser: Browser) -> None:
    await browser.run("registerPasskey", "Laptop")
    [copy] = await browser.authenticator.credentials()
    for _ in range(2):
        assert "access_token" in await browser.run("signInWithPasskey")

    await browser.authenticator.replace(copy)

    assert await browser.run("signInWithPasskey") == {"error": "passkey_invalid", "name": "Error"}
    await browser.authenticator.verify_user(succeeds=False)
    assert (await browser.run("signInWithPasskey"))["name"] == "NotAllowedError"

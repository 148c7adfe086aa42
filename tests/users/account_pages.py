"""The pages of accounts, in a browser at the address that passkeys belong to, and by their forms alone."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
from playwright.async_api import Page, expect

from deploy.local.ports import free_port
from services.users.settings import Settings
from tests.harness.http_server import served
from tests.users.service import ADA, PASSWORD, UsersService

CREDENTIALS = {"email": ADA["email"], "password": PASSWORD}
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}


@dataclass
class Visitor:
    """Somebody who clicks."""

    page: Page
    url: str

    async def open(self, path: str) -> None:
        await self.page.goto(f"{self.url}/account{path}")

    async def fill(self, values: Mapping[str, str]) -> None:
        """Fill in fields by their labels."""
        for label, value in values.items():
            await self.page.get_by_label(label, exact=True).fill(value)

    async def click(self, name: str) -> None:
        await self.page.get_by_role("button", name=name, exact=True).click()

    async def follow(self, name: str) -> None:
        await self.page.get_by_role("link", name=name, exact=True).click()

    async def sign_in(self, *, email: str = ADA["email"], password: str = PASSWORD) -> None:
        await self.fill({"E-mail address": email, "Password": password})
        await self.click("Sign in")

    async def sees(self, heading: str) -> None:
        """Expect the page with this heading."""
        await expect(self.page.get_by_role("heading", level=1)).to_have_text(heading)

    async def is_told(self, text: str) -> None:
        """Expect a notice."""
        await expect(self.page.get_by_role("status")).to_contain_text(text)

    async def is_warned(self, text: str) -> None:
        """Expect an error."""
        await expect(self.page.get_by_role("alert").filter(has_text=re.compile("."))).to_contain_text(text)


@asynccontextmanager
async def visiting(service: UsersService, page: Page) -> AsyncIterator[Visitor]:
    """Serve the pages at the first origin of the settings, and yield a visitor."""
    origin: str = service.app.state.settings.webauthn_origins[0]
    async with served(service.app, port=int(origin.rpartition(":")[2])):
        yield Visitor(page, origin)


def at_free_port(settings: Settings) -> Settings:
    """Return settings whose passkeys work on pages at a free port."""
    return settings.model_copy(update={"webauthn_origins": (f"http://localhost:{free_port()}",)})


async def send(service: UsersService, path: str, **fields: Any) -> httpx2.Response:
    """Send a form of a page, with the cookies that the client holds."""
    return await service.http.post(f"/account{path}", data=fields, headers=SAME_ORIGIN)

"""A life of an account on its pages, clicked in real Chromium: mails, an export and an erasure over all services."""

import asyncio
import json
import re
from pathlib import Path

from playwright.async_api import Page, expect

from tests.harness.mail import MailCatcher
from tests.harness.waiting import until
from tests.journeys.processes import PASSWORD, RunningServices
from tests.users.account_pages import Visitor

EMAIL = "ada@example.com"


async def test_an_account_is_made_exported_and_erased_on_its_pages(
    services: RunningServices, smtp_catcher: MailCatcher, page: Page
) -> None:
    visitor = Visitor(page, services.urls["users"].replace("127.0.0.1", "localhost"))
    await _signs_up(visitor, smtp_catcher)

    document = await _exports(visitor)
    await _erases(visitor)

    assert document["users"]["profile"]["email"] == EMAIL
    assert document.keys() == {"export", "users", "orders", "notifications"}
    subjects = {mail["subject"] for mail in await smtp_catcher.wait_for(to=EMAIL, count=3, timeout_seconds=30)}
    assert "Your export is ready" in subjects
    await visitor.open("")
    await visitor.sign_in(email=EMAIL)
    await visitor.is_warned("The e-mail address or the password is wrong")


async def _signs_up(visitor: Visitor, catcher: MailCatcher) -> None:
    await visitor.open("/sign-up")
    await visitor.fill({"E-mail address": EMAIL, "Name": "Ada Lovelace", "Password": PASSWORD})
    await visitor.click("Create the account")
    await visitor.is_told("We have sent you a mail")
    (mail,) = await catcher.wait_for(to=EMAIL, timeout_seconds=30)
    link = re.search(r"http://localhost:8080/account(/verify\?token=\S+)", mail["text"])
    assert link is not None, mail["text"]
    await visitor.open(link[1])
    await visitor.fill({"Your password": PASSWORD})
    await visitor.click("Confirm the address")
    await expect(visitor.page.get_by_role("heading", name="Address confirmed")).to_be_visible()
    await visitor.open("")
    await visitor.sign_in(email=EMAIL)
    await visitor.sees("Profile")


async def _exports(visitor: Visitor) -> dict[str, dict[str, dict[str, str]]]:
    await visitor.follow("Data")
    await visitor.click("Request an export")
    await visitor.is_told("The export is requested")
    link = visitor.page.get_by_role("link", name="Download the export")

    async def is_ready() -> bool:
        await visitor.open("/data")
        return await link.count() > 0

    await until(is_ready, what="the export is ready", seconds=30, poll_seconds=0.2)
    async with visitor.page.expect_download() as download:
        await link.click()
    path = await (await download.value).path()
    content = await asyncio.to_thread(Path(path).read_bytes)
    document: dict[str, dict[str, dict[str, str]]] = json.loads(content)
    return document


async def _erases(visitor: Visitor) -> None:
    await visitor.follow("Erase the account")
    await visitor.page.get_by_label("I want to erase my account").check()
    await visitor.click("Erase the account")
    await visitor.sees("Receipt of an erasure")

    async def is_complete() -> bool:
        await visitor.page.reload()
        return await visitor.page.get_by_text("was erased everywhere").count() > 0

    await until(is_complete, what="the erasure is complete", seconds=30, poll_seconds=0.2)

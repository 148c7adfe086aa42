"""The journey of an account, clicked in real Chromium: from the sign-up to a new password by a mailed link."""

import time

import pyotp
import pytest
from playwright.async_api import Page

from services.users.settings import Settings
from tests.harness.virtual_authenticator import virtual_authenticator
from tests.users.account_pages import Visitor, at_free_port, visiting
from tests.users.mails import RESET, VERIFICATION, mailed_token, run_jobs
from tests.users.service import ADA, PASSWORD, UsersService

NEW_PASSWORD = "another good password"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return at_free_port(settings)


async def test_an_account_is_made_secured_and_recovered(service: UsersService, page: Page) -> None:
    async with visiting(service, page) as visitor:
        await _signs_up(visitor, service)
        await _fills_in_the_profile(visitor)
        codes = await _adds_a_passkey(visitor)
        await visitor.click("Sign out")
        await visitor.is_told("You are signed out")
        await visitor.click("Sign in with a passkey")
        await visitor.sees("Profile")
        secret = await _adds_an_app(visitor)
        await visitor.click("Sign out")
        await _recovers_the_password(visitor, service)
        await _signs_in_with_a_code(visitor, secret)
        await _looks_at_sessions_and_activity(visitor)
        await _removes_the_passkey(visitor)
        await _signs_in_with_a_recovery_code(visitor, codes[0])


async def _signs_up(visitor: Visitor, service: UsersService) -> None:
    await visitor.open("")
    await visitor.sees("Sign in")
    await visitor.follow("Create an account")
    await visitor.fill({"E-mail address": ADA["email"], "Name": ADA["name"], "Password": "password1234"})
    await visitor.click("Create the account")
    await visitor.is_warned("known from breaches")
    await visitor.fill({"Password": PASSWORD})
    await visitor.click("Create the account")
    await visitor.is_told("We have sent you a mail")
    await visitor.sign_in()
    await visitor.sees("Profile")
    await visitor.click("Send the mail again")
    await visitor.is_told("A new mail")
    await visitor.open(f"/verify?token={await mailed_token(service, VERIFICATION)}")
    await visitor.fill({"Your password": PASSWORD})
    await visitor.click("Confirm the address")
    await visitor.open("")
    assert await visitor.page.get_by_text("You have not confirmed").count() == 0


async def _fills_in_the_profile(visitor: Visitor) -> None:
    await visitor.fill({"Name": "Ada King", "Phone (optional)": "12"})
    await visitor.page.get_by_label("Time zone").select_option("Europe/London")
    await visitor.click("Save")
    await visitor.is_warned("country code")
    await visitor.fill({"Phone (optional)": "+44 20 7183 8750"})
    await visitor.click("Save")
    await visitor.is_told("Your profile is saved")


async def _adds_a_passkey(visitor: Visitor) -> list[str]:
    await virtual_authenticator(visitor.page)
    await visitor.follow("Security")
    await visitor.follow("Passkeys")
    await visitor.follow("Add a passkey")
    await visitor.fill({"Name of the passkey": "Laptop"})
    await visitor.click("Create the passkey")
    await visitor.sees("Your recovery codes")
    codes = await visitor.page.locator(".codes code").all_text_contents()
    assert len(codes) == 10
    return codes


async def _adds_an_app(visitor: Visitor) -> str:
    await visitor.open("/authenticator-app")
    await visitor.click("Add an app")
    secret = await visitor.page.locator("#secret").inner_text()
    await visitor.fill({"Code that the app shows": "000000"})
    await visitor.click("Confirm")
    await visitor.is_warned("The code is wrong")
    await visitor.fill({"Code that the app shows": pyotp.TOTP(secret).now()})
    await visitor.click("Confirm")
    await visitor.is_told("Your authenticator app is added")
    return secret


async def _recovers_the_password(visitor: Visitor, service: UsersService) -> None:
    await visitor.follow("I have lost my password")
    await visitor.fill({"E-mail address": ADA["email"]})
    await visitor.click("Send the link")
    await visitor.is_told("a mail with a link is on its way")
    await run_jobs(service)
    await visitor.open(f"/reset-password?token={await mailed_token(service, RESET)}")
    await visitor.fill({"New password": NEW_PASSWORD})
    await visitor.click("Set the password")
    await visitor.sees("Password changed")


async def _signs_in_with_a_code(visitor: Visitor, secret: str) -> None:
    await visitor.open("/sessions")
    await visitor.sign_in(password=NEW_PASSWORD)
    await visitor.sees("Second step")
    await visitor.fill({"Code of your authenticator app": "000000"})
    await visitor.click("Continue")
    await visitor.is_warned("That is wrong")
    # The code of the present step was used to add the app.
    await visitor.fill({"Code of your authenticator app": pyotp.TOTP(secret).at(time.time() + 30)})
    await visitor.click("Continue")
    await visitor.sees("Devices")


async def _looks_at_sessions_and_activity(visitor: Visitor) -> None:
    assert await visitor.page.get_by_text("Chrome on Linux").count() == 1
    await visitor.follow("Activity")
    shown = await visitor.page.locator(".events strong").all_text_contents()
    assert shown[:4] == [
        "Signed in",
        "Sign-in failed",
        "Password set by a mailed link",
        "New password requested",
    ]


async def _removes_the_passkey(visitor: Visitor) -> None:
    await visitor.open("/passkeys")
    await visitor.page.get_by_text("Rename or remove").click()
    await visitor.fill({"Name": "Old laptop"})
    await visitor.click("Rename")
    await visitor.is_told("Your passkey is renamed")
    await visitor.page.get_by_text("Rename or remove").click()
    await visitor.click("Remove Old laptop")
    await visitor.is_told("Your passkey is removed")


async def _signs_in_with_a_recovery_code(visitor: Visitor, code: str) -> None:
    await visitor.open("/sessions")
    await visitor.click("Sign out everywhere")
    await visitor.is_told("signed out on all devices")
    await visitor.sign_in(password=NEW_PASSWORD)
    await visitor.page.get_by_text("Use a recovery code").click()
    await visitor.fill({"Recovery code": code})
    await visitor.page.locator("details").get_by_role("button", name="Continue").click()
    await visitor.sees("Profile")

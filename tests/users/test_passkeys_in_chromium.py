"""Passkeys in real Chromium, on the pages of accounts, with a virtual authenticator."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from playwright.async_api import Page

from services.users.settings import Settings
from tests.harness.virtual_authenticator import VirtualAuthenticator, virtual_authenticator
from tests.users.account_pages import Visitor, at_free_port, visiting
from tests.users.second_factors import User

WITHOUT_JSON = """
  delete PublicKeyCredential.parseCreationOptionsFromJSON;
  delete PublicKeyCredential.parseRequestOptionsFromJSON;
  delete PublicKeyCredential.prototype.toJSON;
"""


@dataclass
class Owner(Visitor):
    """Ada, who is signed in on the pages, and her device."""

    authenticator: VirtualAuthenticator

    async def add_passkey(self) -> None:
        await self.open("/passkeys/new")
        await self.click("Create the passkey")

    async def sign_in_with_passkey(self) -> None:
        await self.open("/sign-in")
        await self.click("Sign in with a passkey")


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return at_free_port(settings)


@pytest.fixture
async def owner(ada: User, page: Page) -> AsyncIterator[Owner]:
    async with visiting(ada.service, page) as visitor:
        owner = Owner(page, visitor.url, await virtual_authenticator(page))
        await owner.open("/sign-in")
        await owner.sign_in()
        await owner.sees("Profile")
        yield owner


async def test_a_passkey_registers_signs_in_answers_and_steps_up(owner: Owner, ada: User) -> None:
    await owner.add_passkey()
    await owner.sees("Your recovery codes")
    await owner.add_passkey()
    await owner.is_warned("has a passkey of your account already")  # excludeCredentials

    await owner.click("Sign out")
    await owner.sign_in()
    await owner.sees("Second step")
    await owner.click("Use a passkey")
    await owner.sees("Profile")

    await owner.sign_in_with_passkey()
    await owner.sees("Profile")
    await ada.session_ages()
    await owner.open("/password")
    await owner.sees("Confirm that it is you")
    await owner.click("Use a passkey")
    await owner.sees("Password")
    await owner.click("Remove the password")
    await owner.is_told("Your password is removed")
    await owner.sign_in_with_passkey()
    await owner.sees("Profile")


async def test_a_browser_without_conversions_to_json_has_passkeys(owner: Owner) -> None:
    await owner.page.add_init_script(WITHOUT_JSON)

    await owner.add_passkey()
    await owner.sees("Your recovery codes")
    await owner.add_passkey()
    await owner.is_warned("has a passkey of your account already")
    await owner.sign_in_with_passkey()
    await owner.sees("Profile")


async def test_a_copied_passkey_and_an_unverified_user_do_not_sign_in(owner: Owner) -> None:
    await owner.add_passkey()
    await owner.sees("Your recovery codes")
    [copy] = await owner.authenticator.credentials()
    for _ in range(2):
        await owner.sign_in_with_passkey()
        await owner.sees("Profile")

    await owner.authenticator.replace(copy)

    await owner.sign_in_with_passkey()
    await owner.is_warned("This passkey is not known here")
    await owner.authenticator.verify_user(succeeds=False)
    await owner.sign_in_with_passkey()
    await owner.is_warned("It was cancelled, or took too long")

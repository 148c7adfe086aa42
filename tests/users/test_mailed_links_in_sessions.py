"""Mailed links that the pages redeem in the browser's session, without a password."""

from tests.users.account_pages import CREDENTIALS, send
from tests.users.mails import CHANGE, VERIFICATION, mailed_token
from tests.users.second_factors import User
from tests.users.service import PASSWORD


async def test_an_account_without_a_password_redeems_mailed_links_in_its_session(ada: User) -> None:
    service = ada.service
    await send(service, "/sign-in", **CREDENTIALS)
    await ada.add_passkey()
    await ada.call("DELETE", "/password")
    verification = await mailed_token(service, VERIFICATION)
    await ada.call("POST", "/email-change", {"email": "countess@orderly.example"})
    change = await mailed_token(service, CHANGE)

    verified = await send(service, "/email/verify", token=verification)
    changed = await send(service, "/email/confirm", token=change)
    again, empty = [await send(service, "/email/confirm", token=token) for token in (change, "")]

    assert verified.headers["location"] == "/account?done=email-verified"
    assert changed.headers["location"] == "/account?done=email-changed"
    assert (again.status_code, empty.status_code) == (410, 410)
    user = (await ada.call("GET", "")).json()
    assert (user["email"], user["email_verified_at"] is None) == ("countess@orderly.example", False)


async def test_a_mailed_link_is_not_redeemed_in_the_session_of_another_user(ada: User) -> None:
    service = ada.service
    token = await mailed_token(service, VERIFICATION)
    await service.sign_up(email="eve@orderly.example")
    await send(service, "/sign-in", email="eve@orderly.example", password=PASSWORD)

    refused = await send(service, "/email/verify", token=token)

    assert (refused.status_code, "of another account" in refused.text) == (410, True)
    assert (await ada.call("GET", "")).json()["email_verified_at"] is None

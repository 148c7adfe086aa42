"""Step-up: sensitive changes need a recent sign-in, with a second factor if the account has one."""

import time
from typing import Any

import httpx2

from tests.harness.problems import problem
from tests.users.second_factors import User
from tests.users.service import PASSWORD, bearer

SENSITIVE: tuple[tuple[str, str], ...] = (
    ("POST", "/email-change"),
    ("PUT", "/password"),
    ("POST", "/totp"),
    ("DELETE", "/totp"),
    ("POST", "/recovery-codes"),
    ("DELETE", "/password"),
    ("POST", "/passkeys/options"),
    ("POST", "/passkeys"),
    ("DELETE", "/passkeys/0199a6e2-7c1e-7b7c-8a55-0d6b8f4f2c11"),
)


async def set_limit(user: User) -> httpx2.Response:
    """Set the credit limit of another user."""
    customer = await user.service.create_account(email=f"customer{time.time_ns()}@orderly.example")
    path = f"/v1/users/{customer.id}/credit-limit"
    return await user.service.http.put(path, json={"limit_cents": 5}, headers=user.header)


async def become_admin(user: User) -> None:
    await user.execute("UPDATE user_account SET roles = ARRAY['admin']")
    user.header = bearer(await user.service.sign_in())


async def test_a_sensitive_change_needs_a_recent_sign_in(ada: User) -> None:
    await ada.session_ages()

    for method, path in SENSITIVE:
        response = await ada.call(method, path)
        assert problem(response) == (401, "step_up_required"), path
        assert response.json()["methods"] == ["pwd"]
        assert response.headers["www-authenticate"] == 'Bearer error="insufficient_user_authentication"'


async def test_a_credit_limit_needs_a_recent_sign_in(ada: User) -> None:
    await become_admin(ada)
    await ada.session_ages()
    assert problem(await set_limit(ada)) == (401, "step_up_required")

    assert (await ada.step_up(password=PASSWORD)).status_code == 204

    assert (await set_limit(ada)).status_code == 200


async def test_a_new_token_of_an_old_session_is_not_enough(ada: User) -> None:
    tokens = await ada.service.sign_in()
    await ada.session_ages()
    refreshed = await ada.service.http.post("/v1/sessions/refresh", json={"refresh_token": tokens["refresh_token"]})
    ada.header = bearer(refreshed.json())

    assert problem(await ada.call("POST", "/totp")) == (401, "step_up_required")


async def test_a_session_signed_in_before_the_second_factor_needs_it(ada: User) -> None:
    older = User(ada.service, ada.header, ada.id)
    ada.header = bearer(await ada.service.sign_in())
    await ada.add_totp()

    response = await older.call("DELETE", "/totp")

    assert problem(response) == (401, "step_up_required")
    assert response.json()["methods"] == ["otp", "rc"]
    assert (await ada.call("POST", "/recovery-codes")).status_code == 200  # the code just confirmed counts


async def test_a_second_factor_is_not_replaced_by_the_password(ada: User) -> None:
    await ada.add_totp()
    await ada.session_ages()

    response = await ada.step_up(password=PASSWORD)

    assert problem(response) == (401, "step_up_required")
    assert response.json()["methods"] == ["otp", "rc"]


async def test_a_code_a_recovery_code_and_a_passkey_step_up(ada: User) -> None:
    await ada.add_totp()
    authenticator = await ada.add_passkey()
    proofs: list[dict[str, Any]] = [
        {"code": ada.code()},
        {"recovery_code": ada.recovery_codes[0]},
        {"passkey": await ada.assertion(authenticator)},
    ]
    for proof in proofs:
        await ada.session_ages()
        assert problem(await ada.call("POST", "/recovery-codes")) == (401, "step_up_required")

        assert (await ada.step_up(**proof)).status_code == 204, proof

        assert (await ada.call("POST", "/passkeys/options")).status_code == 200
        assert problem(await ada.step_up(**proof)) == (401, "second_factor_invalid")


async def test_another_users_passkey_does_not_step_up(ada: User) -> None:
    await ada.add_totp()
    eve = User(ada.service, await ada.service.sign_up_and_in(email="eve@orderly.example"), "eve")
    passkey = await ada.assertion(await eve.add_passkey())

    assert problem(await ada.step_up(passkey=passkey)) == (401, "second_factor_invalid")


async def test_wrong_passwords_at_step_up_are_limited(ada: User) -> None:
    for _ in range(3):
        assert problem(await ada.step_up(password="wrong")) == (401, "credentials_invalid")

    assert problem(await ada.step_up(password=PASSWORD)) == (429, "too_many_attempts")


async def test_an_ended_session_makes_no_sensitive_change(ada: User) -> None:
    await ada.execute("UPDATE user_session SET revoked_at = now()")

    assert problem(await ada.call("POST", "/totp")) == (401, "session_ended")
    assert problem(await ada.step_up(password=PASSWORD)) == (401, "session_ended")

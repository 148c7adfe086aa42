"""Passkeys over HTTP, with an authenticator in software; test_passkeys_in_chromium.py has a real browser."""

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import ValidationError

from services.users import jobs
from services.users.settings import Settings
from tests.harness.authenticator import BACKED_UP, BACKUP_ELIGIBLE, USER_PRESENT, USER_VERIFIED, Authenticator
from tests.harness.problems import problem
from tests.users.second_factors import User
from tests.users.service import bearer

REGISTRATION_INVALID = (422, "passkey_registration_invalid")
PASSKEY_INVALID = (401, "passkey_invalid")


async def test_a_passkey_signs_in_without_address_and_password(ada: User) -> None:
    authenticator = await ada.add_passkey()

    response = await ada.sign_in_with(authenticator)

    assert (response.status_code, response.headers["cache-control"]) == (201, "no-store")
    header = bearer(response.json())
    assert (await ada.service.http.get("/v1/users/me", headers=header)).json()["id"] == ada.id
    ada.header = header
    assert (await ada.call("POST", "/recovery-codes")).status_code == 200  # it counts as a second factor


async def test_the_options_of_a_registration(ada: User) -> None:
    first = await ada.add_passkey()

    options = (await ada.call("POST", "/passkeys/options")).json()["public_key"]

    handle, challenge, existing = options["user"].pop("id"), options.pop("challenge"), options.pop("excludeCredentials")
    assert (len(handle), len(challenge)) == (86, 43)
    assert ada.id.replace("-", "") not in first.user_handle.hex()
    assert [(each["type"], sorted(each["transports"])) for each in existing] == [("public-key", ["hybrid", "internal"])]
    assert options == {
        "rp": {"name": "Orderly", "id": "localhost"},
        "user": {"name": "Ada@orderly.example", "displayName": "Ada Lovelace"},
        "pubKeyCredParams": [{"type": "public-key", "alg": alg} for alg in (-8, -7, -257)],
        "timeout": 300_000,
        "authenticatorSelection": {
            "residentKey": "required",
            "requireResidentKey": True,
            "userVerification": "required",
        },
        "attestation": "none",
    }


async def test_a_passkey_is_listed_renamed_and_removed(ada: User) -> None:
    flags = USER_PRESENT | USER_VERIFIED | BACKUP_ELIGIBLE | BACKED_UP
    authenticator = await ada.add_passkey(Authenticator(flags=flags, counts=False), name="  Phone ")
    [listed] = (await ada.call("GET", "/passkeys")).json()["items"]
    path = f"/passkeys/{listed['id']}"
    assert listed == {
        "id": listed["id"],
        "name": "Phone",
        "transports": ["hybrid", "internal"],
        "authenticator_id": "00000000-0000-0000-0000-000000000000",
        "backed_up": True,
        "created_at": listed["created_at"],
        "last_used_at": None,
    }

    renamed = await ada.call("PATCH", path, {"name": "Old phone"})

    assert renamed.json() == listed | {"name": "Old phone"}
    assert (await ada.sign_in_with(authenticator)).status_code == 201
    assert (await ada.call("GET", path)).json()["last_used_at"] is not None
    assert (await ada.call("DELETE", path)).status_code == 204
    assert problem(await ada.call("GET", path)) == (404, "passkey_not_found")
    assert problem(await ada.sign_in_with(authenticator)) == PASSKEY_INVALID
    assert [kind for kind, _ in await ada.record()] == ["passkey_added", "passkey_removed"]
    assert [data["change"] for _, data in await ada.service.events()] == ["passkey_added", "passkey_removed"]


async def test_a_passkey_of_somebody_else_is_not_found(ada: User) -> None:
    await ada.add_passkey()
    [passkey] = (await ada.call("GET", "/passkeys")).json()["items"]
    eve = User(ada.service, await ada.service.sign_up_and_in(email="eve@orderly.example"), "eve")

    for method, body in (("GET", None), ("PATCH", {"name": "Mine"}), ("DELETE", None)):
        response = await eve.call(method, f"/passkeys/{passkey['id']}", body)
        assert problem(response) == (404, "passkey_not_found"), method


async def test_a_passkey_is_a_second_factor_of_the_password(ada: User) -> None:
    authenticator = await ada.add_passkey()
    refused = await ada.sign_in()
    assert problem(refused) == (401, "second_factor_required")
    assert refused.json()["methods"] == ["hwk", "rc"]
    eve = User(ada.service, await ada.service.sign_up_and_in(email="eve@orderly.example"), "eve")
    other = await eve.add_passkey()
    challenge = refused.json()["challenge"]

    wrong = await ada.answer(challenge, passkey=await ada.assertion(other))
    right = await ada.answer(challenge, passkey=await ada.assertion(authenticator))

    assert problem(wrong) == (401, "second_factor_invalid")
    assert right.status_code == 201


async def test_recovery_codes_come_with_the_first_second_factor_only(ada: User) -> None:
    first = await ada.register(Authenticator())
    second = await ada.register(Authenticator())

    assert len(first.json()["recovery_codes"]) == 10
    assert second.json()["recovery_codes"] is None


async def test_a_wrong_registration_is_rejected(ada: User) -> None:
    wrong: list[dict[str, Any]] = [
        {"origin": "http://localhost:8081"},
        {"flags": USER_PRESENT},
        {"client_data": {"challenge": "AAAA"}},
        {"client_data": {"type": "webauthn.get"}},
        {"client_data": {"crossOrigin": True}},
        {"client_data": {"challenge": None}},
    ]
    for attributes in wrong:
        assert problem(await ada.register(Authenticator(**attributes))) == REGISTRATION_INVALID, attributes
    assert (await ada.methods())["passkeys"] == 0


async def test_bytes_that_are_no_attestation_are_rejected(ada: User) -> None:
    for attestation in ("o2NmbXQ", "_w", "gQ", "oWNmbXRkbm9uZQ", "3" * 5_000):
        options = (await ada.call("POST", "/passkeys/options")).json()["public_key"]
        credential = Authenticator().create(options)
        credential["response"]["attestationObject"] = attestation
        response = await ada.call("POST", "/passkeys", {"name": "Phone", "credential": credential})
        assert problem(response) == REGISTRATION_INVALID, attestation


async def test_a_registration_works_once(ada: User) -> None:
    options = (await ada.call("POST", "/passkeys/options")).json()["public_key"]
    body = {"name": "Phone", "credential": Authenticator().create(options)}

    responses = await asyncio.gather(*(ada.call("POST", "/passkeys", body) for _ in range(3)))

    assert sorted(response.status_code for response in responses) == [201, 422, 422]


async def test_a_registration_is_for_the_account_that_asked(ada: User) -> None:
    eve = User(ada.service, await ada.service.sign_up_and_in(email="eve@orderly.example"), "eve")
    options = (await ada.call("POST", "/passkeys/options")).json()["public_key"]

    response = await eve.call("POST", "/passkeys", {"name": "Phone", "credential": Authenticator().create(options)})

    assert problem(response) == REGISTRATION_INVALID


async def test_a_passkey_is_registered_once(ada: User) -> None:
    authenticator = await ada.add_passkey()

    assert problem(await ada.register(authenticator)) == (409, "passkey_exists")


async def test_the_number_of_passkeys_is_limited(ada: User) -> None:
    await ada.add_passkey()
    await ada.execute(
        "INSERT INTO passkey SELECT gen_random_uuid(), user_id, sha256(n::text::bytea), public_key, sign_count,"
        " transports, authenticator_id, backup_eligible, backed_up, name, created_at"
        " FROM passkey, generate_series(2, 20) AS n"
    )

    assert problem(await ada.call("POST", "/passkeys/options")) == (409, "too_many_passkeys")


async def test_a_wrong_assertion_does_not_sign_in(ada: User) -> None:
    wrong: list[tuple[str, Any]] = [
        ("origin", "http://localhost:8081"),
        ("flags", USER_PRESENT),
        ("flags", USER_PRESENT | USER_VERIFIED | BACKUP_ELIGIBLE),
        ("client_data", {"type": "webauthn.create"}),
        ("client_data", {"challenge": "AAAA"}),
        ("client_data", {"crossOrigin": True}),
        ("key", Authenticator().key),
        ("user_handle", b"another"),
        ("user_handle", b""),
        ("credential_id", b"another"),
    ]
    for attribute, value in wrong:
        authenticator = await ada.add_passkey()
        setattr(authenticator, attribute, value)
        assert problem(await ada.sign_in_with(authenticator)) == PASSKEY_INVALID, (attribute, value)


async def test_an_assertion_works_once(ada: User) -> None:
    authenticator = await ada.add_passkey(Authenticator(counts=False))
    body = {"credential": await ada.assertion(authenticator)}

    responses = await asyncio.gather(*(ada.service.http.post("/v1/sessions/passkey", json=body) for _ in range(3)))

    assert sorted(response.status_code for response in responses) == [201, 401, 401]


async def test_a_challenge_that_expired_does_not_sign_in(ada: User) -> None:
    authenticator = await ada.add_passkey()
    body = {"credential": await ada.assertion(authenticator)}
    await ada.execute("UPDATE passkey_challenge SET expires_at = now()")

    assert problem(await ada.service.http.post("/v1/sessions/passkey", json=body)) == PASSKEY_INVALID


async def test_challenges_that_expired_are_purged(ada: User) -> None:
    authenticator = await ada.add_passkey()
    await ada.challenge()
    await ada.assertion(authenticator)
    for table in ("sign_in_challenge", "passkey_challenge"):
        await ada.execute(f"UPDATE {table} SET expires_at = now()")  # noqa: S608 - ours
    body = {"challenge": await ada.challenge(), "passkey": await ada.assertion(authenticator)}

    await jobs.purge_sessions(ada.service.sessions)

    async with ada.service.sessions() as session:
        left = sa.text("SELECT (SELECT count(*) FROM sign_in_challenge) + (SELECT count(*) FROM passkey_challenge)")
        assert await session.scalar(left) == 2
    assert (await ada.service.http.post("/v1/sessions/second-factor", json=body)).status_code == 201


async def test_a_copied_passkey_is_refused_and_recorded(ada: User) -> None:
    authenticator = await ada.add_passkey()
    for _ in range(2):
        assert (await ada.sign_in_with(authenticator)).status_code == 201
    authenticator.sign_count = 0

    assert problem(await ada.sign_in_with(authenticator)) == PASSKEY_INVALID

    kind, details = (await ada.record())[-1]
    assert (kind, details["reason"]) == ("sign_in_failed", "sign_count")
    authenticator.sign_count = 2
    assert (await ada.sign_in_with(authenticator)).status_code == 201


async def test_a_suspended_account_does_not_sign_in_with_a_passkey(ada: User) -> None:
    authenticator = await ada.add_passkey()
    await ada.execute("UPDATE user_account SET status = 'suspended'")

    assert problem(await ada.sign_in_with(authenticator)) == (403, "account_inactive")


async def test_an_account_without_a_password_signs_in_with_its_passkey(ada: User) -> None:
    assert problem(await ada.call("DELETE", "/password")) == (409, "last_way_in")
    authenticator = await ada.add_passkey()

    assert (await ada.call("DELETE", "/password")).status_code == 204

    assert problem(await ada.sign_in()) == (401, "credentials_invalid")
    assert (await ada.sign_in_with(authenticator)).status_code == 201
    assert await ada.methods() == {"password": False, "totp": False, "passkeys": 1, "recovery_codes": 10}
    assert ("password_changed", {"change": "password_removed"}) in await ada.record()
    assert problem(await ada.call("DELETE", "/password")) == (404, "password_missing")


async def test_the_last_way_in_is_kept(ada: User) -> None:
    await ada.add_passkey()
    await ada.add_passkey()
    await ada.call("DELETE", "/password")
    await ada.execute("DELETE FROM recovery_code")
    ids = [passkey["id"] for passkey in (await ada.call("GET", "/passkeys")).json()["items"]]

    responses = await asyncio.gather(*(ada.call("DELETE", f"/passkeys/{each}") for each in ids))

    assert [problem(response) for response in responses] == [(409, "last_way_in")] * 2
    assert (await ada.call("POST", "/recovery-codes")).status_code == 200
    responses = await asyncio.gather(*(ada.call("DELETE", f"/passkeys/{each}") for each in ids))
    assert sorted(response.status_code for response in responses) == [204, 409]


def test_a_relying_party_that_browsers_refuse_is_not_configured(settings: Settings) -> None:
    wrong: list[dict[str, Any]] = [
        {"webauthn_rp_id": "127.0.0.1"},
        {"webauthn_rp_id": "https://orderly.example"},
        {"webauthn_origins": "http://orderly.example"},
        {"webauthn_origins": "http://127.0.0.1:8080"},
        {"webauthn_origins": "https://orderly.example/"},
        {"webauthn_origins": "https://other.example"},
        {"webauthn_origins": ""},
    ]
    right = settings.model_dump() | {"webauthn_rp_id": "orderly.example", "webauthn_origins": "https://orderly.example"}
    Settings.model_validate(right | {"webauthn_origins": "https://a.orderly.example:8443"})
    for values in wrong:
        with pytest.raises(ValidationError):
            Settings.model_validate(right | values)

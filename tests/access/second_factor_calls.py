"""Requests to the users service about second factors, passkeys and step-up."""

import time
from typing import Any

import pyotp
import sqlalchemy as sa

from services.users.authentication.recovery_codes import replace_recovery_codes
from services.users.models.accounts import UserAccount
from services.users.models.second_factors import Passkey, Totp
from services.users.passkeys.commands import creation_options
from services.users.passkeys.relying_party import RelyingParty
from services.users.second_factors.commands import start_totp
from services.users.sessions.challenges import create_challenge
from shared.http.auth import OWN
from tests.access.calls import Call, call_of, plain
from tests.access.system import PASSWORD, Account, System
from tests.access.users_calls import target_of
from tests.harness.authenticator import Authenticator

PASSKEYS = "/v1/users/me/passkeys"

plain("GET /v1/users/me/sign-in-methods", f"GET {PASSKEYS}", "POST /v1/sessions/passkey/options")
plain("POST /v1/users/me/totp", f"POST {PASSKEYS}/options")
plain("POST /v1/sessions/step-up", json={"password": PASSWORD})


async def start(system: System, account: Account, *, is_confirmed: bool) -> str:
    """Give an account an authenticator app, and return a code of it. The password alone still signs in."""
    async with system.sessions("users").begin() as session:
        await session.execute(sa.delete(Totp).where(Totp.user_id == account.id))
        secret = await start_totp(session, user_id=account.id, encryption=system.apps["users"].state.encryption)
        if is_confirmed:
            await session.execute(sa.update(Totp).where(Totp.user_id == account.id).values(confirmed_at=sa.func.now()))
    return pyotp.TOTP(secret.text).at(time.time())


async def add_passkey(system: System, account: Account) -> Passkey:
    """Give an account a passkey that no authenticator has, and a recovery code."""
    async with system.sessions("users").begin() as session:
        await replace_recovery_codes(session, user_id=account.id)
        passkey = Passkey(
            user_id=account.id,
            credential_id=str(system.number()).encode(),
            public_key=b"",
            sign_count=0,
            transports=[],
            authenticator_id=account.id,
            backup_eligible=False,
            backed_up=False,
            name="Phone",
        )
        session.add(passkey)
    return passkey


@call_of("POST /v1/users/me/totp/confirmation", by_new_account=True)
async def confirm_totp(system: System, owner: Account, _objects: str) -> Call:
    return Call("/v1/users/me/totp/confirmation", {"code": await start(system, owner, is_confirmed=False)})


@call_of("DELETE /v1/users/me/totp", by_new_account=True)
async def remove_totp(system: System, owner: Account, _objects: str) -> Call:
    await start(system, owner, is_confirmed=False)
    return Call("/v1/users/me/totp")


@call_of("POST /v1/users/me/recovery-codes", by_new_account=True)
async def replace_codes(system: System, owner: Account, _objects: str) -> Call:
    await start(system, owner, is_confirmed=True)
    return Call("/v1/users/me/recovery-codes")


@call_of("DELETE /v1/users/me/password", by_new_account=True)
async def remove_password(system: System, owner: Account, _objects: str) -> Call:
    await add_passkey(system, owner)
    return Call("/v1/users/me/password")


async def created(system: System, account: Account) -> tuple[Authenticator, dict[str, Any]]:
    """Return an authenticator, and its answer to the options of an account."""
    authenticator = Authenticator()
    async with system.sessions("users").begin() as session:
        options = await creation_options(session, party=_party(system), user_id=account.id)
    return authenticator, authenticator.create(options)


@call_of(f"POST {PASSKEYS}", by_new_account=True)
async def register_passkey(system: System, owner: Account, _objects: str) -> Call:
    _, credential = await created(system, owner)
    return Call(PASSKEYS, {"name": "Phone", "credential": credential})


@call_of(f"GET {PASSKEYS}/{{passkey_id}}")
async def read_passkey(system: System, owner: Account, _objects: str) -> Call:
    return Call(f"{PASSKEYS}/{(await add_passkey(system, owner)).id}")


@call_of(f"PATCH {PASSKEYS}/{{passkey_id}}")
async def rename_passkey(system: System, owner: Account, _objects: str) -> Call:
    return Call(f"{PASSKEYS}/{(await add_passkey(system, owner)).id}", {"name": "Laptop"})


@call_of(f"DELETE {PASSKEYS}/{{passkey_id}}", by_new_account=True)
async def remove_passkey(system: System, owner: Account, objects: str) -> Call:
    passkey = await add_passkey(system, owner if objects == OWN else system.other)
    return Call(f"{PASSKEYS}/{passkey.id}")


@call_of("POST /v1/users/{user_id}/remove-second-factors")
async def remove_second_factors(system: System, owner: Account, objects: str) -> Call:
    user_id = await target_of(system, owner, objects)
    if objects != OWN:  # the caller's own account has to sign in by its password
        async with system.sessions("users").begin() as session:
            await session.execute(sa.update(UserAccount).where(UserAccount.id == user_id).values(second_factor=True))
    return Call(f"/v1/users/{user_id}/remove-second-factors", {"reason": "Lost phone"})


@call_of("POST /v1/sessions/second-factor")
async def sign_in_with_second_factor(system: System, _owner: Account, _objects: str) -> Call:
    account = await system.signed_in()
    code = await start(system, account, is_confirmed=True)
    async with system.sessions("users").begin() as session:
        challenge = await create_challenge(session, user_id=account.id, methods=["pwd"])
    return Call("/v1/sessions/second-factor", {"challenge": challenge, "code": code})


@call_of("POST /v1/sessions/passkey")
async def sign_in_with_passkey(system: System, _owner: Account, _objects: str) -> Call:
    account = await system.signed_in()
    authenticator, credential = await created(system, account)
    client, body = system.clients["users"], {"name": "Phone", "credential": credential}
    assert (await client.post(PASSKEYS, json=body, headers=account.header)).status_code == 201
    options = (await client.post("/v1/sessions/passkey/options")).json()["public_key"]
    return Call("/v1/sessions/passkey", {"credential": authenticator.get(options)})


def _party(system: System) -> RelyingParty:
    return RelyingParty(system.settings.webauthn_rp_id, system.settings.webauthn_origins)

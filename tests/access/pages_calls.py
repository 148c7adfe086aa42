"""Requests to the pages of accounts, which anyone may open: a page that needs a session redirects to the sign-in.

The pages that change nothing are opened with the cookie of a session. The forms are sent without one, since all roles
would change the same account: they are tested in tests/users.
"""

import json
from uuid import UUID

from services.users.pages.browser_session import ACCESS_COOKIE
from tests.access.calls import Call, call_of, plain
from tests.access.second_factor_calls import sign_in_with_passkey, sign_in_with_second_factor
from tests.access.system import PASSWORD, Account, System
from tests.access.users_calls import new_erasure

plain(
    "GET /account/passkeys.js",
    "GET /account/sign-up",
    "GET /account/sign-in",
    "GET /account/lost-password",
    "POST /account",
    "POST /account/email",
    "POST /account/email/verification",
    "POST /account/email/verify",
    "POST /account/email/confirm",
    "POST /account/password",
    "POST /account/password/remove",
    "POST /account/authenticator-app",
    "POST /account/authenticator-app/secret",
    "POST /account/authenticator-app/remove",
    "POST /account/recovery-codes",
    "POST /account/passkeys/new",
    "POST /account/sessions/others/end",
    "POST /account/sessions/all/end",
    "POST /account/data/exports",
    "POST /account/erasure",
    "POST /account/confirm-identity",
    "POST /account/sign-out",
)
_OF_SESSIONS = (
    "/account",
    "/account/email",
    "/account/password",
    "/account/security",
    "/account/authenticator-app",
    "/account/recovery-codes",
    "/account/passkeys",
    "/account/passkeys/new",
    "/account/sessions",
    "/account/security-record",
    "/account/data",
    "/account/erasure",
    "/account/confirm-identity",
)
"""Pages that need a session."""


for _path in _OF_SESSIONS:

    @call_of(f"GET {_path}")
    async def open_page(_system: System, owner: Account, _objects: str, *, path: str = _path) -> Call:
        token = owner.header["Authorization"].removeprefix("Bearer ")
        return Call(path, headers={"Cookie": f"{ACCESS_COOKIE}={token}"})


@call_of("POST /account/passkeys/{passkey_id}/name")
async def rename_passkey(_system: System, _owner: Account, _objects: str) -> Call:
    return Call(f"/account/passkeys/{UUID(int=0)}/name", form={"name": "Phone"})


@call_of("POST /account/passkeys/{passkey_id}/remove")
async def remove_passkey(_system: System, _owner: Account, _objects: str) -> Call:
    return Call(f"/account/passkeys/{UUID(int=0)}/remove")


@call_of("POST /account/sessions/{session_id}/end")
async def end_session(_system: System, _owner: Account, _objects: str) -> Call:
    return Call(f"/account/sessions/{UUID(int=0)}/end")


@call_of("GET /account/data/exports/{export_id}")
async def download_export(_system: System, _owner: Account, _objects: str) -> Call:
    return Call(f"/account/data/exports/{UUID(int=0)}")


@call_of("GET /account/erasures/{erasure_id}")
async def show_receipt(system: System, _owner: Account, _objects: str) -> Call:
    return Call(f"/account/erasures/{await new_erasure(system)}")


@call_of("POST /account/sign-up")
async def sign_up(system: System, _owner: Account, _objects: str) -> Call:
    email = f"new{system.number()}@orderly.example"
    return Call("/account/sign-up", form={"email": email, "name": "Grace Hopper", "password": PASSWORD})


@call_of("POST /account/sign-in")
async def sign_in(_system: System, owner: Account, _objects: str) -> Call:
    return Call("/account/sign-in", form={"email": owner.email, "password": PASSWORD})


@call_of("POST /account/sign-in/second-factor")
async def answer(system: System, owner: Account, objects: str) -> Call:
    call = await sign_in_with_second_factor(system, owner, objects)
    return Call("/account/sign-in/second-factor", form=call.json)


@call_of("POST /account/sign-in/passkey")
async def use_passkey(system: System, owner: Account, objects: str) -> Call:
    call = await sign_in_with_passkey(system, owner, objects)
    return Call("/account/sign-in/passkey", form={"credential": json.dumps(call.json["credential"])})


@call_of("POST /account/lost-password")
async def ask_for_password_reset(system: System, _owner: Account, _objects: str) -> Call:
    return Call("/account/lost-password", form={"email": f"new{system.number()}@orderly.example"})

"""Requests to the users service."""

from uuid import UUID

from services.users.accounts.queries import account_of
from services.users.administration.commands import Act, suspend
from services.users.erasure import commands as erasures
from services.users.security_record.commands import Origin
from services.users.sessions.commands import start_session
from shared.http.auth import OWN
from tests.access.calls import Call, call_of, plain
from tests.access.system import PASSWORD, Account, System

NEW_PASSWORD = "another horse battery"
PROFILE = {"name": "Grace Hopper", "locale": "en"}

plain(
    "GET /v1/users",
    "GET /v1/users/me",
    "GET /v1/users/me/credit",
    "GET /v1/users/me/credit/entries",
    "GET /v1/users/me/exports",
    "GET /v1/users/me/security-events",
    "GET /v1/sessions",
    "GET /v1/security-events",
    "GET /v1/erasures",
    "GET /.well-known/jwks.json",
    "GET /account/account.css",
    "GET /account/verify",
    "GET /account/confirm-email",
    "GET /account/reset-password",
    "GET /internal/revoked-sessions",
    "POST /v1/users/me/email-verification",
    "POST /v1/users/me/exports",
)
plain("POST /internal/personal-keys", json={"user_ids": []})
plain("PUT /v1/users/me/password", json={"new_password": NEW_PASSWORD}, by_new_account=True)
plain("POST /v1/password-resets", json={"email": "nobody@orderly.example"})


async def target_of(system: System, owner: Account, objects: str) -> UUID:
    """Return the caller's own id, or that of a new account, which the request may change."""
    return owner.id if objects == OWN else (await system.add_account())[0]


@call_of("POST /v1/users")
async def sign_up(system: System, _owner: Account, _objects: str) -> Call:
    email = f"new{system.number()}@orderly.example"
    return Call("/v1/users", {**PROFILE, "email": email, "password": PASSWORD})


@call_of("POST /v1/users/verified")
async def create_verified_user(system: System, _owner: Account, _objects: str) -> Call:
    email = f"new{system.number()}@orderly.example"
    return Call("/v1/users/verified", {**PROFILE, "email": email, "password": PASSWORD})


@call_of("PATCH /v1/users/me")
async def update_own_user(system: System, owner: Account, _objects: str) -> Call:
    async with system.sessions("users")() as session:
        account = await account_of(session, owner.id)
    body = {"name": f"Ada {system.number()}"}
    return Call("/v1/users/me", body, headers={"If-Match": f'"{account.version}"'})


@call_of("GET /v1/users/{user_id}")
async def read_user(_system: System, owner: Account, _objects: str) -> Call:
    return Call(f"/v1/users/{owner.id}")


@call_of("GET /v1/users/{user_id}/credit")
async def read_credit(_system: System, owner: Account, _objects: str) -> Call:
    return Call(f"/v1/users/{owner.id}/credit")


@call_of("GET /v1/users/{user_id}/credit/entries")
async def list_credit_entries(_system: System, owner: Account, _objects: str) -> Call:
    return Call(f"/v1/users/{owner.id}/credit/entries")


@call_of("PUT /v1/users/{user_id}/credit-limit")
async def set_credit_limit(system: System, owner: Account, objects: str) -> Call:
    return Call(f"/v1/users/{await target_of(system, owner, objects)}/credit-limit", {"limit_cents": 200_000})


@call_of("PUT /v1/users/{user_id}/roles")
async def set_user_roles(system: System, owner: Account, objects: str) -> Call:
    return Call(f"/v1/users/{await target_of(system, owner, objects)}/roles", {"roles": ["customer", "support"]})


@call_of("POST /v1/users/{user_id}/suspend")
async def suspend_user(system: System, owner: Account, objects: str) -> Call:
    return Call(f"/v1/users/{await target_of(system, owner, objects)}/suspend", {"reason": "Fraud"})


@call_of("POST /v1/users/{user_id}/reinstate")
async def reinstate_user(system: System, owner: Account, objects: str) -> Call:
    user_id = await target_of(system, owner, objects)
    if objects != OWN:  # the caller's own account has to stay active
        async with system.sessions("users").begin() as session:
            await suspend(session, user_id=user_id, reason="Fraud", act=Act("test"))
    return Call(f"/v1/users/{user_id}/reinstate", {"reason": "A mistake"})


@call_of("POST /v1/sessions")
async def sign_in(_system: System, owner: Account, _objects: str) -> Call:
    return Call("/v1/sessions", {"email": owner.email, "password": PASSWORD})


@call_of("POST /v1/sessions/refresh")
async def refresh_session(system: System, _owner: Account, _objects: str) -> Call:
    return Call("/v1/sessions/refresh", {"refresh_token": (await system.signed_in()).refresh_token})


@call_of("DELETE /v1/sessions/{session_id}")
async def revoke_own_session(system: System, owner: Account, _objects: str) -> Call:
    async with system.sessions("users").begin() as session:
        account = await account_of(session, owner.id)
        grant = await start_session(
            session,
            account=account,
            origin=Origin("127.0.0.1", None),
            methods=["pwd"],
            limits=system.settings.session_limits,
        )
    return Call(f"/v1/sessions/{grant.session_id}")


@call_of("DELETE /v1/sessions")
async def revoke_own_sessions(_system: System, _owner: Account, _objects: str) -> Call:
    return Call("/v1/sessions", params={"keep_current": True})  # the walk goes on with it


@call_of("POST /v1/oauth/token")
async def issue_tokens(_system: System, owner: Account, _objects: str) -> Call:
    form = {"grant_type": "password", "username": owner.email, "password": PASSWORD}
    return Call("/v1/oauth/token", form=form)


@call_of("POST /v1/oauth/revoke")
async def revoke_token(system: System, _owner: Account, _objects: str) -> Call:
    return Call("/v1/oauth/revoke", form={"token": (await system.signed_in()).refresh_token})


@call_of("POST /v1/users/me/email-change")
async def ask_for_email_change(system: System, _owner: Account, _objects: str) -> Call:
    email = f"new{system.number()}@orderly.example"
    return Call("/v1/users/me/email-change", {"email": email})


@call_of("POST /v1/email-verifications")
async def verify_email(system: System, _owner: Account, _objects: str) -> Call:
    body = {"token": await system.one_time_token("verify_email"), "password": PASSWORD}
    return Call("/v1/email-verifications", body)


@call_of("POST /v1/email-verifications/new-password")
async def verify_email_with_new_password(system: System, _owner: Account, _objects: str) -> Call:
    body = {"token": await system.one_time_token("verify_email"), "new_password": NEW_PASSWORD}
    return Call("/v1/email-verifications/new-password", body)


@call_of("POST /v1/users/me/email-verification/confirmation")
async def verify_own_email(system: System, owner: Account, objects: str) -> Call:
    user_id = await target_of(system, owner, objects)
    body = {"token": await system.one_time_token("verify_email", user_id=user_id)}
    return Call("/v1/users/me/email-verification/confirmation", body)


@call_of("POST /v1/email-changes")
async def change_email(system: System, _owner: Account, _objects: str) -> Call:
    return Call("/v1/email-changes", {"token": await system.one_time_token("change_email"), "password": PASSWORD})


@call_of("POST /v1/users/me/email-change/confirmation")
async def change_own_email(system: System, owner: Account, objects: str) -> Call:
    user_id = await target_of(system, owner, objects)
    body = {"token": await system.one_time_token("change_email", user_id=user_id)}
    return Call("/v1/users/me/email-change/confirmation", body)


@call_of("POST /v1/password-resets/confirmation")
async def reset_password(system: System, _owner: Account, _objects: str) -> Call:
    body = {"token": await system.one_time_token("reset_password"), "new_password": NEW_PASSWORD}
    return Call("/v1/password-resets/confirmation", body)


@call_of("POST /account/verify")
async def send_verification_form(system: System, _owner: Account, _objects: str) -> Call:
    form = {"token": await system.one_time_token("verify_email"), "password": PASSWORD}
    return Call("/account/verify", form=form)


@call_of("POST /account/verify-with-new-password")
async def send_take_over_form(system: System, _owner: Account, _objects: str) -> Call:
    form = {"token": await system.one_time_token("verify_email"), "password": NEW_PASSWORD}
    return Call("/account/verify-with-new-password", form=form)


@call_of("POST /account/confirm-email")
async def send_email_change_form(system: System, _owner: Account, _objects: str) -> Call:
    form = {"token": await system.one_time_token("change_email"), "password": PASSWORD}
    return Call("/account/confirm-email", form=form)


@call_of("POST /account/reset-password")
async def send_reset_form(system: System, _owner: Account, _objects: str) -> Call:
    form = {"token": await system.one_time_token("reset_password"), "password": NEW_PASSWORD}
    return Call("/account/reset-password", form=form)


@call_of("GET /v1/users/me/exports/{export_id}")
async def read_own_export(system: System, owner: Account, _objects: str) -> Call:
    return Call(f"/v1/users/me/exports/{await system.ready_export(owner)}")


@call_of("GET /v1/users/me/exports/{export_id}/content")
async def download_own_export(system: System, owner: Account, _objects: str) -> Call:
    return Call(f"/v1/users/me/exports/{await system.ready_export(owner)}/content")


plain("POST /v1/users/me/erasure", by_new_account=True)


@call_of("POST /v1/users/{user_id}/erasure")
async def request_erasure(system: System, owner: Account, objects: str) -> Call:
    return Call(f"/v1/users/{await target_of(system, owner, objects)}/erasure", {"reason": "A letter"})


async def new_erasure(system: System) -> UUID:
    """Request the erasure of a new account, and return its id."""
    user_id, _ = await system.add_account()
    async with system.sessions("users").begin() as session:
        receipt, _ = await erasures.request_erasure(session, user_id=user_id, reason=None, act=Act("test"))
    return receipt.erasure.id


@call_of("GET /v1/erasures/{erasure_id}")
async def read_erasure(system: System, _owner: Account, _objects: str) -> Call:
    return Call(f"/v1/erasures/{await new_erasure(system)}")


@call_of("GET /v1/erasures/{erasure_id}/receipt")
async def read_receipt(system: System, _owner: Account, _objects: str) -> Call:
    return Call(f"/v1/erasures/{await new_erasure(system)}/receipt")


@call_of("POST /v1/erasures/{erasure_id}/retry")
async def retry_erasure(system: System, _owner: Account, _objects: str) -> Call:
    return Call(f"/v1/erasures/{await new_erasure(system)}/retry")

"""Requests to the users service."""

from datetime import timedelta
from uuid import UUID

from services.users.accounts.queries import account_of
from services.users.administration.commands import Act, suspend
from services.users.sessions.commands import start_session
from shared.http.auth import OWN
from tests.access.calls import Call, call_of, plain
from tests.access.system import PASSWORD, Account, System

PROFILE = {"name": "Grace Hopper", "locale": "en"}

plain(
    "GET /v1/users",
    "GET /v1/users/me",
    "GET /v1/users/me/credit",
    "GET /v1/users/me/security-events",
    "GET /v1/sessions",
    "GET /v1/security-events",
    "GET /.well-known/jwks.json",
)


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
        grant = await start_session(session, account=account, user_agent=None, lifetime=timedelta(days=1))
    return Call(f"/v1/sessions/{grant.session_id}")

"""Admins suspend, reinstate, set roles and create verified accounts: what changes, is recorded, and is refused."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
import sqlalchemy as sa

from services.users.models.security_record import SecurityEvent
from tests.harness.databases import until_waiting
from tests.harness.problems import problem
from tests.users.orders import Order
from tests.users.second_factors import User
from tests.users.service import ADA, PASSWORD, UsersService, bearer

REASON = {"reason": "Chargeback of order O-2K7WQ9XA"}


@pytest.fixture
async def admin(service: UsersService) -> dict[str, str]:
    return await service.header_with("admin", email="admin@orderly.example")


async def id_of(service: UsersService, header: dict[str, str]) -> str:
    return str((await service.http.get("/v1/users/me", headers=header)).json()["id"])


async def post(
    service: UsersService, user_id: Any, action: str, header: dict[str, str], **body: Any
) -> httpx2.Response:
    return await service.http.post(f"/v1/users/{user_id}/{action}", json=body or REASON, headers=header)


async def put_roles(service: UsersService, user_id: Any, header: dict[str, str], *roles: str) -> httpx2.Response:
    return await service.http.put(f"/v1/users/{user_id}/roles", json={"roles": roles}, headers=header)


async def recorded(service: UsersService, user_id: Any) -> list[tuple[str, str, dict[str, Any]]]:
    """Return kind, actor and details of a user's entries, oldest first, without the creation and sign-ins."""
    async with service.sessions() as session:
        entries = await session.scalars(
            sa.select(SecurityEvent).where(SecurityEvent.user_id == UUID(str(user_id))).order_by(SecurityEvent.id)
        )
        return [
            (each.kind, each.actor, each.details)
            for each in entries
            if each.kind not in {"account_created", "signed_in"}
        ]


async def test_a_suspended_user_is_signed_out_and_gets_no_credit_until_reinstated(
    service: UsersService, admin: dict[str, str]
) -> None:
    user = await service.sign_up()
    tokens = await service.sign_in()
    actor = await id_of(service, admin)

    suspended = await post(service, user["id"], "suspend", admin)
    refused = await service.http.post("/v1/sessions", json={"email": ADA["email"], "password": PASSWORD})
    refreshed = await service.http.post("/v1/sessions/refresh", json={"refresh_token": tokens["refresh_token"]})
    order = Order(UUID(user["id"]), total_cents=100)
    await service.apply(order.created())
    reinstated = await post(service, user["id"], "reinstate", admin, reason="The bank has paid.")

    body = suspended.json()
    assert (suspended.status_code, suspended.headers["etag"]) == (200, '"2"')
    assert body == user | {"status": "suspended", "updated_at": body["updated_at"]}
    assert problem(refused) == (403, "account_inactive")
    assert problem(refreshed) == (401, "refresh_token_invalid")
    assert (reinstated.json()["status"], reinstated.headers["etag"]) == ("active", '"3"')
    await service.sign_in()
    events = await service.events()
    assert [(type_, data.get("reason")) for type_, data in events] == [
        ("user.suspended", REASON["reason"]),
        ("user.credit_refused", "user_inactive"),
        ("user.reinstated", None),
    ]
    assert await recorded(service, user["id"]) == [
        ("account_suspended", actor, REASON),
        ("sessions_revoked", actor, {"sessions": 1}),
        ("account_reinstated", actor, {"reason": "The bank has paid."}),
    ]


async def test_a_change_in_the_wrong_status_or_without_a_reason_changes_nothing(
    service: UsersService, admin: dict[str, str]
) -> None:
    account = await service.create_account()

    early = await post(service, account.id, "reinstate", admin)
    unreasoned = [await post(service, account.id, "suspend", admin, reason=reason) for reason in ("", " ", "\u202ea")]
    missing = await post(service, uuid4(), "suspend", admin)
    stale = await post(service, account.id, "suspend", admin | {"If-Match": '"7"'})
    done = await post(service, account.id, "suspend", admin | {"If-Match": '"1"'})
    again = await post(service, account.id, "suspend", admin)

    assert problem(early) == (409, "account_not_suspended")
    assert {problem(each) for each in unreasoned} == {(422, "validation_failed")}
    assert problem(missing) == (404, "user_not_found")
    assert problem(stale) == (412, "precondition_failed")
    assert done.status_code == 200
    assert problem(again) == (409, "account_not_active")
    assert again.json()["account_status"] == "suspended"
    assert [type_ for type_, _ in await service.events()] == ["user.suspended"]


async def test_a_repeat_with_the_same_key_gets_the_first_response(service: UsersService, admin: dict[str, str]) -> None:
    account = await service.create_account()
    header = admin | {"Idempotency-Key": "suspend-grace"}

    first, repeat = [await post(service, account.id, "suspend", header) for _ in range(2)]

    assert (repeat.status_code, repeat.json(), repeat.headers["etag"]) == (200, first.json(), '"2"')
    assert len(await service.events()) == 1


async def test_roles_are_set_as_a_whole_and_a_change_signs_out(service: UsersService, admin: dict[str, str]) -> None:
    user = await service.sign_up()
    await service.sign_in()
    actor = await id_of(service, admin)

    promoted = await put_roles(service, user["id"], admin, "support", "customer")
    same = await put_roles(service, user["id"], admin, "customer", "support")
    tokens = await service.sign_in()
    listed = await service.http.get("/v1/users", headers=bearer(tokens))
    demoted = await put_roles(service, user["id"], admin, "customer")

    assert (promoted.json()["roles"], promoted.headers["etag"]) == (["customer", "support"], '"2"')
    assert same.headers["etag"] == '"2"'
    assert listed.status_code == 200
    assert (demoted.json()["roles"], demoted.headers["etag"]) == (["customer"], '"3"')
    refresh = await service.http.post("/v1/sessions/refresh", json={"refresh_token": tokens["refresh_token"]})
    assert problem(refresh) == (401, "refresh_token_invalid")
    assert await service.events() == [
        ("user.roles_changed", {"user_id": user["id"], "roles": ["customer", "support"]}),
        ("user.roles_changed", {"user_id": user["id"], "roles": ["customer"]}),
    ]
    both, one = ["customer", "support"], ["customer"]
    assert await recorded(service, user["id"]) == [
        ("roles_changed", actor, {"roles": both, "previous_roles": one}),
        ("sessions_revoked", actor, {"sessions": 1}),
        ("roles_changed", actor, {"roles": one, "previous_roles": both}),
        ("sessions_revoked", actor, {"sessions": 1}),
    ]


async def test_invalid_roles_are_rejected(service: UsersService, admin: dict[str, str]) -> None:
    account = await service.create_account()
    for roles in ((), ("root",), ("admin", "admin"), ("customer", "support", "admin", "admin")):
        assert problem(await put_roles(service, account.id, admin, *roles)) == (422, "validation_failed")
    assert problem(await put_roles(service, uuid4(), admin, "customer")) == (404, "user_not_found")
    stale = await put_roles(service, account.id, admin | {"If-Match": '"2"'}, "support")
    assert problem(stale) == (412, "precondition_failed")


async def test_two_admins_who_demote_or_suspend_each_other_at_once_do_not_both_succeed(service: UsersService) -> None:
    """The second change waits for the first, and then sees that it would take the last active admin."""
    headers = [await service.header_with("admin", email=f"admin{n}@orderly.example") for n in range(2)]
    ids = [await id_of(service, header) for header in headers]

    async with service.sessions.begin() as session:
        await session.execute(sa.text("SELECT FROM user_account FOR UPDATE"))
        changes = asyncio.gather(
            put_roles(service, ids[1], headers[0], "customer"), post(service, ids[0], "suspend", headers[1])
        )
        await until_waiting(service.sessions, transactions=2)
    outcomes = sorted(response.status_code for response in await changes)

    assert outcomes == [200, 409]
    assert {problem(each)[1] for each in await changes if each.status_code == 409} == {"last_admin"}


async def test_a_suspended_admin_is_not_counted_as_one_that_remains(service: UsersService) -> None:
    """A stale token still works for a while: it must not be able to suspend the last active admin."""
    stale, last = [await service.header_with("admin", email=f"admin{n}@orderly.example") for n in range(2)]
    stale_id, last_id = await id_of(service, stale), await id_of(service, last)
    assert (await post(service, stale_id, "suspend", last)).status_code == 200

    assert problem(await post(service, last_id, "suspend", stale)) == (409, "last_admin")
    # A route that needs a recent sign-in looks at the session, so the token does not even get that far.
    assert problem(await put_roles(service, last_id, stale, "support")) == (401, "session_ended")


async def test_admins_can_not_change_their_own_account(service: UsersService, admin: dict[str, str]) -> None:
    own = await id_of(service, admin)
    await service.create_account(email="other@orderly.example", roles=("admin",))

    assert problem(await post(service, own, "suspend", admin)) == (403, "own_account")
    assert problem(await post(service, own, "reinstate", admin)) == (403, "own_account")
    assert problem(await put_roles(service, own, admin, "admin", "customer")) == (403, "own_account")
    limit = await service.http.put(f"/v1/users/{own}/credit-limit", json={"limit_cents": 10**9}, headers=admin)
    assert problem(limit) == (403, "own_account")
    assert await service.events() == []


async def test_an_admin_creates_a_user_whose_address_counts_as_verified(
    service: UsersService, admin: dict[str, str]
) -> None:
    profile = {key: value for key, value in ADA.items() if key != "password"} | {"locale": "de"}
    header = admin | {"Idempotency-Key": "import-1"}

    created = await service.http.post("/v1/users/verified", json=profile | {"password": PASSWORD}, headers=header)
    repeat = await service.http.post("/v1/users/verified", json=profile, headers=header)
    unusable = await service.http.post(
        "/v1/users/verified", json=profile | {"email": "grace@orderly.example"}, headers=admin
    )
    taken = await service.http.post("/v1/users/verified", json=profile, headers=admin)

    body = created.json()
    assert (created.status_code, created.headers["location"]) == (201, f"/v1/users/{body['id']}")
    assert (body["roles"], body["locale"], body["email_verified_at"] is not None) == (["customer"], "de", True)
    assert repeat.json() == body
    assert unusable.status_code == 201
    assert problem(taken) == (409, "email_taken")
    await service.sign_in()
    none = await service.http.post("/v1/sessions", json={"email": "grace@orderly.example", "password": PASSWORD})
    assert problem(none) == (401, "credentials_invalid")
    async with service.sessions() as session:
        actors = sa.select(SecurityEvent.actor).where(
            SecurityEvent.user_id == UUID(body["id"]), SecurityEvent.kind == "account_created"
        )
        assert (await session.scalars(actors)).all() == [await id_of(service, admin)]


async def test_a_new_credit_limit_is_recorded_with_its_actor(service: UsersService, admin: dict[str, str]) -> None:
    account = await service.create_account(limit_cents=1_000)
    path = f"/v1/users/{account.id}/credit-limit"

    for _ in range(2):
        response = await service.http.put(path, json={"limit_cents": 2_500}, headers=admin)
        assert response.status_code == 200

    change = {"limit_cents": 2_500, "previous_limit_cents": 1_000, "currency": "GBP"}
    assert await service.events() == [("user.credit_limit_changed", {"user_id": str(account.id), **change})]
    assert await recorded(service, account.id) == [("credit_limit_changed", await id_of(service, admin), change)]


async def test_an_admin_removes_the_second_factors_of_a_user_who_has_lost_them(ada: User) -> None:
    admin = await ada.service.header_with("admin")
    assert problem(await post(ada.service, ada.id, "remove-second-factors", admin)) == (409, "second_factor_missing")
    await ada.add_totp()
    await ada.add_passkey()

    assert (await post(ada.service, ada.id, "remove-second-factors", admin)).status_code == 200

    assert problem(await ada.step_up(password=PASSWORD)) == (401, "session_ended")
    ada.header = bearer((await ada.sign_in()).json())
    assert await ada.methods() == {"password": True, "totp": False, "passkeys": 0, "recovery_codes": 0}
    assert ("second_factor_removed", {"change": "all_removed_by_admin", **REASON}) in await ada.record()
    assert (await ada.service.events())[-1][1]["change"] == "all_removed_by_admin"

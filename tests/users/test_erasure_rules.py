"""Admins erase others, users their own account; meanwhile changes of the account are refused."""

from services.users.jobs import REPUBLISHED
from shared.events.notifications import RecipientErased
from shared.events.orders import CustomerErased
from shared.ids import new_id
from shared.messaging.outbox.republish import count_aggregates
from tests.harness.problems import problem
from tests.harness.rows import Rows
from tests.users.erasures import answer, asked, erase, erase_as_admin, finish, read_receipt, request_erasure
from tests.users.service import UsersService, bearer
from tests.users.test_unverified_accounts import age, purge


async def test_an_admin_erases_others_and_sees_who_has_not_answered(service: UsersService) -> None:
    admin = await service.header_with("admin")
    user = await service.create_account()

    response = await erase_as_admin(service, admin, user.id)

    erasure = response.json()
    assert (response.status_code, erasure["user_id"], erasure["waits_for"], erasure["asked"]) == (
        202, str(user.id), ["orders", "notifications"], 1,
    )  # fmt: skip
    assert (await erase_as_admin(service, admin, user.id)).json()["id"] == erasure["id"]
    await answer(service, erasure, str(user.id), CustomerErased)
    path = f"/v1/erasures/{erasure['id']}"
    assert (await service.http.get(path, headers=admin)).json()["waits_for"] == ["notifications"]
    retried = await service.http.post(f"{path}/retry", headers=admin)
    assert (retried.status_code, retried.json()["asked"], await asked(service)) == (202, 2, 2)
    pending = (await service.http.get("/v1/erasures?status=pending", headers=admin)).json()["items"]
    assert [each["id"] for each in pending] == [erasure["id"]]
    await answer(service, erasure, str(user.id), RecipientErased)
    await finish(service)
    listed = [
        [each["id"] for each in (await service.http.get(f"/v1/erasures{query}", headers=admin)).json()["items"]]
        for query in ("?status=pending", "?status=completed", "")
    ]
    assert listed == [[], [erasure["id"]], [erasure["id"]]]
    assert (await service.recorded("erasure_requested")) == [{"erasure_id": erasure["id"]}]
    await service.http.post(f"{path}/retry", headers=admin)
    assert await asked(service) == 3  # a service may have been restored since


async def test_an_erased_account_is_listed_and_can_be_changed_no_more(service: UsersService) -> None:
    admin = await service.header_with("admin")
    user = await service.create_account()
    erasure = (await erase_as_admin(service, admin, user.id)).json()

    async def statuses() -> list[tuple[int, str]]:
        path = f"/v1/users/{user.id}"
        reason = {"reason": "why"}
        return [
            problem(await service.http.post(f"{path}/suspend", json=reason, headers=admin)),
            problem(await service.http.post(f"{path}/reinstate", json=reason, headers=admin)),
            problem(await service.http.put(f"{path}/roles", json={"roles": ["admin"]}, headers=admin)),
        ]

    refused = [(409, "account_not_active"), (409, "account_not_suspended"), (409, "account_erased")]
    assert await statuses() == refused
    assert len((await service.http.get("/v1/users?status=erasing", headers=admin)).json()["items"]) == 1
    await answer(service, erasure, str(user.id))
    await finish(service)
    assert await statuses() == refused
    assert len((await service.http.get("/v1/users?status=erased", headers=admin)).json()["items"]) == 1


async def test_a_profile_cannot_be_changed_during_an_erasure(service: UsersService) -> None:
    header = await service.header_with("customer")
    await request_erasure(service, header)
    # As if the revocation had not reached this process yet: the token was not issued for a stored session.
    response = await service.http.patch("/v1/users/me", json={"name": "X"}, headers=header | {"If-Match": "*"})
    assert problem(response) == (409, "account_erased")


async def test_the_last_admin_cannot_be_erased_and_nobody_erases_their_own_account_as_an_admin(
    service: UsersService,
) -> None:
    admin = await service.header_with("admin")
    admin_id = (await service.http.get("/v1/users/me", headers=admin)).json()["id"]

    response = await service.http.post("/v1/users/me/erasure", headers=admin)

    assert problem(response) == (409, "last_admin")
    assert problem(await erase_as_admin(service, admin, admin_id)) == (403, "own_account")
    other = await service.header_with("admin", email="other@orderly.example")
    assert (await erase(service, admin, admin_id))["status"] == "completed"
    assert problem(await service.http.post("/v1/users/me/erasure", headers=other)) == (409, "last_admin")


async def test_a_suspended_account_is_erased_by_admins_only(service: UsersService) -> None:
    admin, header = await service.header_with("admin"), await service.header_with("customer", email="c@orderly.example")
    user_id = (await service.http.get("/v1/users/me", headers=header)).json()["id"]
    await service.http.post(f"/v1/users/{user_id}/suspend", json={"reason": "fraud"}, headers=admin)

    response = await service.http.post("/v1/users/me/erasure", headers=header)

    assert problem(response) == (401, "session_ended")
    assert (await erase_as_admin(service, admin, user_id)).status_code == 202


async def test_an_account_that_is_erased_is_neither_purged_nor_republished(service: UsersService) -> None:
    user = await service.sign_up()
    header = bearer(await service.sign_in())
    receipt = await request_erasure(service, header)
    await age(service, user, days=40)

    async def republished() -> int:
        async with service.sessions() as session:
            return await count_aggregates(session, REPUBLISHED[0], since=None)

    await purge(service)
    assert await republished() == 0
    await answer(service, receipt, user["id"])
    await finish(service)
    await purge(service)
    assert await republished() == 0
    assert (await read_receipt(service, receipt["id"]))["status"] == "completed"
    assert await Rows(service.sessions).count("user_account") == 1


async def test_an_unknown_erasure_is_a_404(service: UsersService) -> None:
    admin = await service.header_with("admin")
    path = f"/v1/erasures/{new_id()}"
    responses = [
        await service.http.get(f"{path}/receipt"),
        await service.http.get(path, headers=admin),
        await service.http.post(f"{path}/retry", headers=admin),
    ]
    assert [problem(response) for response in responses] == [(404, "erasure_not_found")] * 3
    assert problem(await erase_as_admin(service, admin, new_id())) == (404, "user_not_found")

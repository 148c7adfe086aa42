"""The keys of personal data: made with the account, read by other services, destroyed with the account."""

from base64 import urlsafe_b64decode
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from services.users.internal.schemas import MAX_KEYS
from services.users.jobs import REPUBLISHED
from services.users.models.accounts import PersonalKeyDestroyed, UserAccount
from shared.events.users import Contact
from shared.http.users_client import UsersClient
from shared.ids import new_id
from shared.messaging.outbox.republish import count_aggregates
from shared.personal_data import unseal
from tests.harness.problems import problem
from tests.users.service import ADA, UsersService

TOKEN = {"Authorization": "Bearer the token of orders"}
PATH = "/internal/personal-keys"
(USERS,) = REPUBLISHED


async def destroy_key(service: UsersService, user_id: UUID) -> None:
    async with service.sessions.begin() as session:
        await session.execute(sa.update(UserAccount).values(personal_key=None).where(UserAccount.id == user_id))


async def keys_of(service: UsersService, *user_ids: UUID) -> dict[str, str]:
    body = {"user_ids": [str(user_id) for user_id in user_ids]}
    response = await service.http.post(PATH, json=body, headers=TOKEN)
    assert (response.status_code, response.headers["cache-control"]) == (200, "no-store")
    keys: dict[str, str] = response.json()["keys"]
    return keys


async def test_an_events_personal_data_can_be_opened_with_the_key_that_another_service_reads(
    service: UsersService,
) -> None:
    user_id = UUID((await service.sign_up(phone="+442071838750"))["id"])
    async with service.sessions() as session:
        data: Any = await session.scalar(sa.text("SELECT convert_from(payload, 'UTF8')::jsonb FROM outbox"))

    keys = await keys_of(service, user_id)

    assert list(data) == ["locale", "user_id", "personal", "time_zone", "email_verified"]
    contact = Contact(email=ADA["email"], name=ADA["name"], phone="+442071838750")
    assert unseal(data["personal"], key=urlsafe_b64decode(keys[str(user_id)]), model=Contact) == contact


async def test_unknown_and_erased_users_have_no_key(service: UsersService) -> None:
    ada, ben = [await service.create_account(email=f"{name}@orderly.example") for name in ("ada", "ben")]
    await destroy_key(service, ben.id)

    assert list(await keys_of(service, ada.id, ben.id, new_id())) == [str(ada.id)]


async def test_every_user_has_another_key(service: UsersService) -> None:
    accounts = [await service.create_account(email=f"user-{n}@orderly.example") for n in range(3)]

    keys = await keys_of(service, *(account.id for account in accounts))

    assert len(set(keys.values())) == 3


async def test_reading_keys_is_logged_with_the_service_and_nothing_secret(service: UsersService) -> None:
    account = await service.create_account()

    with capture_logs() as logs:
        await keys_of(service, account.id, new_id())

    (entry,) = [entry for entry in logs if entry["event"] == "personal_keys_read"]
    assert {name: entry[name] for name in ("calling_service", "users", "keys")} == {
        "calling_service": "orders",
        "users": 2,
        "keys": 1,
    }
    assert str(account.id) not in str(logs)


@pytest.mark.parametrize("body", [{}, {"user_ids": ["x"]}, {"user_ids": [str(new_id())] * (MAX_KEYS + 1)}])
async def test_an_invalid_request_for_keys_is_rejected(service: UsersService, body: dict[str, Any]) -> None:
    assert problem(await service.http.post(PATH, json=body, headers=TOKEN)) == (422, "validation_failed")


async def test_an_admins_token_reads_no_keys(service: UsersService) -> None:
    header = await service.header_with("admin")
    assert problem(await service.http.post(PATH, json={"user_ids": []}, headers=header)) == (401, "token_invalid")


async def test_the_route_of_keys_is_in_no_public_document(service: UsersService) -> None:
    assert PATH not in (await service.http.get("/openapi.json")).json()["paths"]


async def test_the_client_reads_keys(service: UsersService) -> None:
    account = await service.create_account()
    client = UsersClient("http://service", token="the token of orders")
    service.http.headers |= TOKEN
    client._client = service.http  # in place of a connection

    assert await client.personal_keys([account.id, new_id()]) == {account.id: account.personal_key}


async def test_nothing_is_sealed_or_republished_of_an_erased_user(service: UsersService) -> None:
    account = await service.create_account()
    await destroy_key(service, account.id)

    async with service.sessions() as session:
        erased = await session.get_one(UserAccount, account.id)
        with pytest.raises(PersonalKeyDestroyed):
            erased.seal(Contact(email="a@example.org", name="A", phone=None))
        assert await count_aggregates(session, USERS, since=None) == 0


async def test_an_admin_creates_a_user_whose_address_is_verified(service: UsersService) -> None:
    header = await service.header_with("admin")

    response = await service.http.post("/v1/users/verified", json=ADA, headers=header | {"Idempotency-Key": "one"})

    body = response.json()
    assert (response.status_code, response.headers["location"]) == (201, f"/v1/users/{body['id']}")
    assert (body["email"], body["roles"]) == (ADA["email"], ["customer"])
    assert body["email_verified_at"] is not None
    events = [data["email_verified"] for _, data in await service.events(without="") if data["user_id"] == body["id"]]
    assert events == [True]
    repeated = await service.http.post("/v1/users/verified", json=ADA, headers=header | {"Idempotency-Key": "one"})
    assert repeated.json() == body
    taken = await service.http.post("/v1/users/verified", json=ADA, headers=header)
    assert problem(taken) == (409, "email_taken")
    assert (await service.sign_in())["access_token"]

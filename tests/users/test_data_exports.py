"""Exports of a user's data: requested, answered by the other services in parts, and downloaded by their user only."""

import asyncio
from typing import Any
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from services.users.data_export.schemas import ExportDocument
from shared.events.exported_data import ExportedData
from shared.events.notifications import RecipientExported
from shared.events.orders import CustomerExported
from shared.ids import new_id
from tests.harness.problems import problem
from tests.harness.rows import Rows
from tests.users.exports import (
    PATH,
    answer,
    apply,
    finish,
    parts_of,
    read,
    ready_export,
    request_export,
    run_scheduled,
    shift_exports,
)
from tests.users.mails import RESET, ask_for_reset, mailed_token
from tests.users.orders import Order
from tests.users.service import ADA, UsersService

PARTS = "SELECT service, part FROM data_export_part ORDER BY service, attempt_id, part"


def orders_part(*numbers: int, first: bool = False) -> ExportedData:
    """Return a part with these orders; the first one also has the customer."""
    return ExportedData(
        facts={"customer": {"email": "a@b.example", "name": "A"}} if first else {},
        lists={"orders": [{"number": number} for number in numbers]},
    )


async def test_an_export_is_pending_until_every_service_has_answered(service: UsersService) -> None:
    header = await service.sign_up_and_in()

    requested = await request_export(service, header)

    missing = ["notifications", "orders", "users"]
    assert requested == {
        "id": requested["id"],
        "status": "pending",
        "missing": missing,
        "requested_at": requested["requested_at"],
        "ready_at": None,
        "expires_at": None,
    }
    content = await service.http.get(f"{PATH}/{requested['id']}/content", headers=header)
    assert (problem(content), content.json()["missing"]) == ((409, "export_pending"), missing)
    await answer(service, requested["id"], CustomerExported)
    assert (await read(service, header, requested))["missing"] == ["notifications", "users"]
    await finish(service)
    await answer(service, requested["id"], RecipientExported)
    assert (await read(service, header, requested))["missing"] == ["users"]

    await finish(service)

    ready = await read(service, header, requested)
    assert (ready["status"], ready["missing"]) == ("ready", [])
    listed = await service.http.get(PATH, headers=header)
    assert listed.json() == {"items": [ready], "next_cursor": None}
    events = await service.events()
    assert events == [
        ("user.export_requested", {"user_id": events[0][1]["user_id"], "request_id": requested["id"]}),
        ("user.export_ready", events[0][1] | {"expires_at": ready["expires_at"]}),
    ]


async def test_the_document_has_everything_and_no_secret(service: UsersService) -> None:
    user = await service.sign_up(phone="+442071838750")
    tokens = await service.sign_in()
    header = {"Authorization": f"Bearer {tokens['access_token']}"}
    order = Order(UUID(user["id"]))
    await service.apply(order.created())
    export = await ready_export(service, header)

    response = await service.http.get(f"{PATH}/{export['id']}/content", headers=header)

    assert {name: response.headers[name] for name in ("content-type", "cache-control", "content-disposition")} == {
        "content-type": "application/json",
        "cache-control": "no-store",
        "content-disposition": f'attachment; filename="orderly-export-{export["id"]}.json"',
    }
    document = response.json()
    assert ExportDocument.model_validate_json(response.text).model_dump(mode="json") == document
    assert document["export"] == {
        "id": export["id"],
        "user_id": user["id"],
        "requested_at": export["requested_at"],
        "ready_at": export["ready_at"],
    }
    users = document["users"]
    assert users["profile"] == user
    assert users["sign_in_methods"] == {"password": True, "totp": False, "passkeys": 0, "recovery_codes": 0}
    assert users["credit"] == {"limit_cents": 100_000, "reserved_cents": 600, "used_cents": 0, "currency": "GBP"}
    assert [(entry["kind"], entry["order_id"]) for entry in users["credit_entries"]] == [
        ("opened", None),
        ("reserved", str(order.id)),
    ]
    assert [each["amount_cents"] for each in users["credit_reservations"]] == [600]
    assert [(each["address"], each["methods"]) for each in users["sessions"]] == [("127.0.0.1", ["pwd"])]
    assert len(users["known_devices"]) == 1
    assert [each["kind"] for each in users["security_events"]] == ["account_created", "signed_in", "data_exported"]
    assert [(each["purpose"], each["email"]) for each in users["mailed_links"]] == [("verify_email", ADA["email"])]
    assert document["orders"] == {"customer": None, "orders": [], "order_items": [], "order_timeline": []}
    assert document["notifications"] == {"recipient": None, "notifications": []}
    assert not [word for word in ("hash", "token", "argon2", "personal_key") if word in response.text]


async def test_a_pending_export_is_returned_again_and_three_a_day_are_allowed(service: UsersService) -> None:
    header = await service.sign_up_and_in()
    first = await request_export(service, header)
    assert await request_export(service, header) == first
    await answer(service, first["id"])
    await finish(service)
    for _ in range(2):
        await ready_export(service, header)

    refused = await service.http.post(PATH, headers=header)

    assert problem(refused) == (429, "too_many_exports")
    assert 23 * 3600 < int(refused.headers["retry-after"]) <= 24 * 3600
    await shift_exports(service, hours=24)
    assert (await request_export(service, header))["status"] == "pending"


async def test_simultaneous_requests_make_one_export(service: UsersService) -> None:
    header = await service.sign_up_and_in()

    exports = await asyncio.gather(*(request_export(service, header) for _ in range(4)))

    assert len({export["id"] for export in exports}) == 1
    assert [type_ for type_, _ in await service.events()] == ["user.export_requested"]
    assert len(await service.recorded("data_exported")) == 1


async def test_a_repeated_request_gets_the_same_response(service: UsersService) -> None:
    header = await service.sign_up_and_in() | {"Idempotency-Key": "one"}
    first = await request_export(service, header)
    await answer(service, first["id"])
    await finish(service)

    assert await request_export(service, header) == first
    assert [type_ for type_, _ in await service.events()] == ["user.export_requested", "user.export_ready"]


async def test_an_export_is_for_its_user_only(service: UsersService) -> None:
    header = await service.sign_up_and_in()
    export = await ready_export(service, header)
    staff = [await service.header_with(role, email=f"{role}@orderly.example") for role in ("support", "admin")]
    stranger = await service.sign_up_and_in(email="bea@orderly.example")

    for other in (*staff, stranger):
        for path in (f"{PATH}/{export['id']}", f"{PATH}/{export['id']}/content"):
            assert problem(await service.http.get(path, headers=other)) == (404, "export_not_found")
        assert (await service.http.get(PATH, headers=other)).json()["items"] == []
    assert problem(await service.http.get(f"{PATH}/{new_id()}", headers=header)) == (404, "export_not_found")


async def test_requests_and_downloads_are_recorded_and_logged_without_personal_data(service: UsersService) -> None:
    with capture_logs() as logs:
        header = await service.sign_up_and_in()
        export = await ready_export(service, header)
        await read(service, header, export, "/content")

    actions = [{"export_id": export["id"], "action": action} for action in ("requested", "downloaded")]
    assert await service.recorded("data_exported") == actions
    about = [entry for entry in logs if entry.get("export_id") == export["id"]]
    assert [entry["event"] for entry in about] == [
        "data_export_requested",
        "data_export_ready",
        "data_export_downloaded",
    ]
    assert {*about[-1]} <= {"event", "log_level", "user_id", "export_id", "request_id"}


async def test_a_list_in_several_parts_is_one_list_whatever_the_order_and_repetitions(service: UsersService) -> None:
    header = await service.sign_up_and_in()
    export = await request_export(service, header)
    await answer(service, export["id"], RecipientExported)
    rest = ExportedData(facts={}, lists={"orders": [{"number": 4}], "order_items": [], "order_timeline": [{"a": 1}]})
    data = [orders_part(1, 2, first=True), orders_part(3), rest]
    first, second, third = await parts_of(service, CustomerExported, export["id"], data)

    await apply(service, third, first, first)
    assert (await read(service, header, export))["missing"] == ["orders", "users"]
    await apply(service, second)
    await apply(service, second)
    await finish(service)

    content = await read(service, header, export, "/content")
    assert content["orders"] == {
        "customer": {"email": "a@b.example", "name": "A"},
        "orders": [{"number": number} for number in (1, 2, 3, 4)],
        "order_items": [],
        "order_timeline": [{"a": 1}],
    }


async def test_parts_of_different_attempts_are_never_mixed(service: UsersService) -> None:
    header = await service.sign_up_and_in()
    export = await request_export(service, header)
    interrupted = await parts_of(service, CustomerExported, export["id"], [orders_part(1, first=True), orders_part(2)])
    whole = await parts_of(
        service, CustomerExported, export["id"], [orders_part(1, first=True), orders_part(3), orders_part(4)]
    )

    await apply(service, interrupted[0], *whole[:2])
    assert (await read(service, header, export))["missing"] == ["notifications", "orders", "users"]
    await apply(service, whole[2])
    # The answer is complete: nothing changes it any more.
    await apply(service, *interrupted)
    await answer(service, export["id"], CustomerExported, RecipientExported)
    await finish(service)

    content = await read(service, header, export, "/content")
    assert content["orders"]["orders"] == [{"number": 1}, {"number": 3}, {"number": 4}]
    assert await Rows(service.sessions).of(PARTS) == [
        ("notifications", 1),
        ("orders", 1),
        ("orders", 2),
        ("orders", 3),
        ("users", 1),
    ]


async def test_an_answer_for_an_unknown_or_another_users_export_is_ignored(service: UsersService) -> None:
    header = await service.sign_up_and_in()
    other = await service.create_account()
    export = await request_export(service, header)
    data = [orders_part(1, first=True)]

    await apply(service, *await parts_of(service, CustomerExported, export["id"], data, user_id=other.id))
    await apply(service, *await parts_of(service, CustomerExported, str(new_id()), data, user_id=other.id))

    assert await Rows(service.sessions).of(PARTS) == []
    assert (await read(service, header, export))["missing"] == ["notifications", "orders", "users"]


async def test_an_expired_export_is_gone_and_purged_later(service: UsersService) -> None:
    header = await service.sign_up_and_in()
    export = await ready_export(service, header)
    await shift_exports(service, hours=7 * 24)

    content = await service.http.get(f"{PATH}/{export['id']}/content", headers=header)
    assert problem(content) == (410, "export_expired")
    await run_scheduled(service, "purge_expired_exports")
    assert await Rows(service.sessions).count("data_export_part") == 3  # a download may have begun before
    await shift_exports(service, hours=2)
    await run_scheduled(service, "purge_expired_exports")
    assert await Rows(service.sessions).count("data_export_part") == 0
    assert (await read(service, header, export))["status"] == "expired"
    await shift_exports(service, hours=30 * 24)
    await run_scheduled(service, "purge_expired_exports")
    assert (await service.http.get(PATH, headers=header)).json()["items"] == []


@pytest.mark.parametrize("is_pending", [True, False])
async def test_whoever_takes_an_account_over_gets_no_export_of_the_first_owner(
    service: UsersService, is_pending: Any
) -> None:
    header = await service.sign_up_and_in()
    await (request_export if is_pending else ready_export)(service, header)
    await ask_for_reset(service, ADA["email"])

    body = {"token": await mailed_token(service, RESET), "new_password": "another horse battery"}
    response = await service.http.post("/v1/password-resets/confirmation", json=body)

    assert response.status_code == 204
    assert await Rows(service.sessions).count("data_export") == 0

"""An account is erased once the other services have answered; until then its user can do nothing any more."""

import asyncio
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from structlog.testing import capture_logs

from services.users.erasure.personal_data import KEPT_TABLES
from services.users.models import Base
from services.users.security_record.commands import Origin, append
from shared.connection_urls import dsn_of
from shared.events.notifications import RecipientErased
from shared.events.orders import CustomerErased
from shared.ids import new_id
from tests.harness.databases import until_waiting
from tests.harness.problems import problem
from tests.harness.remaining_data import tables_with
from tests.harness.rows import Rows
from tests.users.erasures import (
    ASKED,
    answer,
    asked,
    erase_as_admin,
    finish,
    let_pass,
    read_receipt,
    request_erasure,
)
from tests.users.mails import VERIFICATION, mailed_token
from tests.users.orders import Order
from tests.users.service import PASSWORD, UsersService, bearer

EMAIL, NEW_EMAIL = "marked-ada@orderly.example", "marked-augusta@orderly.example"
MARKS = (EMAIL, NEW_EMAIL, "Marked Lovelace", "+442071838750", "marked mathematician", "marked-browser")


async def sign_up_marked(service: UsersService) -> tuple[dict[str, Any], dict[str, str]]:
    """Sign up a user whose data are marked, and return the user with the header that authenticates."""
    key = {"Idempotency-Key": "sign-up"}
    body = {"email": EMAIL, "name": "Marked Lovelace", "phone": "+442071838750", "password": PASSWORD}
    user = (await service.http.post("/v1/users", json=body, headers=key)).json()
    browser = {"User-Agent": "marked-browser/1"}
    credentials = {"email": EMAIL, "password": PASSWORD}
    tokens = (await service.http.post("/v1/sessions", json=credentials, headers=browser)).json()
    header = bearer(tokens)
    bio = {"bio": "marked mathematician"}
    await service.http.patch("/v1/users/me", json=bio, headers=header | {"If-Match": '"1"'})
    change = {"email": NEW_EMAIL}
    response = await service.http.post("/v1/users/me/email-change", json=change, headers=header)
    assert response.status_code == 202, response.text
    return user, header


async def test_a_user_who_asks_for_the_erasure_is_signed_out_and_gets_a_receipt(service: UsersService) -> None:
    user = await service.sign_up()
    tokens = await service.sign_in()
    link = await mailed_token(service, VERIFICATION)

    with capture_logs() as logs:
        receipt = await request_erasure(service, bearer(tokens))

    assert receipt == {
        "id": receipt["id"],
        "status": "pending",
        "requested_at": receipt["requested_at"],
        "completed_at": None,
        "services": [
            {"service": "orders", "acknowledged_at": None},
            {"service": "notifications", "acknowledged_at": None},
        ],
    }
    assert await read_receipt(service, receipt["id"]) == receipt
    assert await service.events() == [(ASKED, {"user_id": user["id"], "request_id": receipt["id"]})]
    assert await service.recorded("erasure_requested") == [{"erasure_id": receipt["id"]}]
    ids = {"user_id": user["id"], "erasure_id": receipt["id"], "actor": user["id"]}
    assert {"event": "erasure_requested", "log_level": "warning", **ids} in logs
    response = await service.http.post("/v1/sessions", json={"email": user["email"], "password": PASSWORD})
    assert problem(response) == (403, "account_inactive")
    assert problem(await service.refresh(tokens)) == (401, "refresh_token_invalid")
    assert (
        problem(await service.http.post("/v1/email-verifications", json={"token": link, "password": PASSWORD}))[0]
        == 410
    )
    order = Order(UUID(user["id"]))
    await service.apply(order.created())
    assert (await service.events())[-1] == ("user.credit_refused", order.reply(reason="user_inactive"))


async def test_simultaneous_requests_get_the_same_receipt_and_ask_once(service: UsersService) -> None:
    header, admin = await service.header_with("customer"), await service.header_with("admin", email="a@orderly.example")
    user_id = (await service.http.get("/v1/users/me", headers=header)).json()["id"]

    async with service.sessions.begin() as session:
        await session.execute(sa.text("SELECT FROM user_account FOR UPDATE"))
        requests = asyncio.gather(*(request_erasure(service, header) for _ in range(3)))
        await until_waiting(service.sessions, transactions=3)

    [first, *others] = await requests
    assert others == [first] * 2
    again = await service.http.post("/v1/users/me/erasure", headers=header)
    assert problem(again) == (401, "session_ended")
    assert (await erase_as_admin(service, admin, user_id)).json()["id"] == first["id"]
    assert await asked(service) == 1


async def test_nothing_personal_is_left_after_the_last_acknowledgement(service: UsersService) -> None:
    user, header = await sign_up_marked(service)
    await hide_marks_everywhere(service, user["id"])
    for email in (EMAIL.upper(), "somebody@else.example"):
        await service.http.post("/v1/password-resets", json={"email": email})  # encrypted jobs
    dsn = dsn_of(service.app.state.settings.database_url)
    before = await tables_with(dsn, MARKS)
    receipt = await request_erasure(service, header)

    await answer(service, receipt, user["id"], CustomerErased)
    await finish(service)
    assert (await tables_with(dsn, MARKS)).keys() == before.keys()
    await answer(service, receipt, user["id"], RecipientErased)
    with capture_logs() as logs:
        await finish(service)

    assert before.keys() >= {
        "credit_entry", "dead_letter", "dead_letter_action", "idempotency_key", "one_time_token", "pgqueuer",
        "security_event", "user_account", "user_session",
    }  # fmt: skip
    assert await tables_with(dsn, MARKS) == {}
    jobs = "SELECT count(*) FROM pgqueuer WHERE entrypoint = 'mail_reset_link'"
    assert await Rows(service.sessions).of(jobs) == [(1,)]
    assert {"event": "user_erased", "log_level": "info", "user_id": user["id"], "erasure_id": receipt["id"]} in logs
    ids = {"user_id": user["id"], "request_id": receipt["id"]}
    assert (await service.events())[-1] == ("user.erased", ids)
    completed = await read_receipt(service, receipt["id"])
    assert completed["status"] == "completed"
    assert all(each["acknowledged_at"] for each in completed["services"])
    account = await Rows(service.sessions).of("""
        SELECT status, left(email, 7), name, phone, bio, locale, time_zone, roles, password_hash, personal_key
        FROM user_account
    """)
    assert account == [("erased", "erased-", "Erased user", None, None, "en", "UTC", ["customer"], None, None)]
    sign_up = await service.sign_up(email=EMAIL)
    assert sign_up["id"] != user["id"]


async def hide_marks_everywhere(service: UsersService, user_id: str) -> None:
    """Write the user's data where operators, strangers and failures may have left them."""
    parameters = {"user_id": user_id, "payload": f'{{"user_id": "{user_id}", "name": "Marked Lovelace"}}'.encode()}
    async with service.sessions.begin() as session:
        about = UUID(user_id)
        await append(session, "account_suspended", user_id=about, actor="ada@ops-1", details={"reason": MARKS[2]})
        origin = Origin("192.0.2.7", "marked-browser/2")
        await append(session, "sign_in_failed", user_id=about, actor="anonymous", origin=origin)
        for statement in (
            """INSERT INTO credit_entry (user_id, kind, reserved_delta_cents, used_delta_cents, limit_delta_cents,
               reserved_cents, used_cents, limit_cents, reason, created_at)
               SELECT user_id, 'corrected', 0, 0, 0, 0, 0, limit_cents, 'Marked Lovelace called', now()
               FROM credit_account WHERE user_id = CAST(:user_id AS text)::uuid""",
            """INSERT INTO dead_letter (consumer, topic, partition, "offset", key, headers, payload, reason)
               VALUES ('users.orders', 'orders', 0, 1, 'x', '{"ce_by": "marked-browser"}', :payload, 'foreign')""",
            """INSERT INTO dead_letter (consumer, topic, partition, "offset", key, headers, payload, reason, resolution,
                                        resolved_at)
               VALUES ('users.orders', 'orders', 0, 2, :user_id, '{}', :payload, 'invalid', 'discarded', now())""",
            """INSERT INTO dead_letter_action (dead_letter_id, actor, action, outcome, detail)
               SELECT id, 'ada', 'discard', 'done', 'Marked Lovelace' FROM dead_letter WHERE "offset" = 2""",
            """INSERT INTO pgqueuer (priority, created, updated, heartbeat, execute_after, status, entrypoint, payload)
               VALUES (0, now(), now(), now(), now(), 'failed', 'odd', :payload)""",
        ):
            names = {name: value for name, value in parameters.items() if f":{name}" in statement}
            await session.execute(sa.text(statement), names)


async def test_acknowledgements_may_repeat_and_those_of_other_requests_are_ignored(service: UsersService) -> None:
    header = await service.header_with("customer")
    user_id = (await service.http.get("/v1/users/me", headers=header)).json()["id"]
    receipt = await request_erasure(service, header)

    await answer(service, {"id": str(new_id())}, user_id)
    await answer(service, receipt, str(new_id()))
    await answer(service, receipt, user_id, CustomerErased, sequence=2)
    first = await read_receipt(service, receipt["id"])
    await answer(service, receipt, user_id, CustomerErased, sequence=3)
    await finish(service)

    assert await read_receipt(service, receipt["id"]) == first
    assert [bool(each["acknowledged_at"]) for each in first["services"]] == [True, False]
    await answer(service, receipt, user_id, RecipientErased, sequence=4)
    await finish(service)
    completed = await read_receipt(service, receipt["id"])
    await answer(service, receipt, user_id, sequence=5)
    await finish(service)
    assert await read_receipt(service, receipt["id"]) == completed
    assert [type_ for type_, _ in await service.events()] == [ASKED, "user.erased"]


async def test_a_service_that_does_not_answer_is_asked_again_with_growing_delays(service: UsersService) -> None:
    header = await service.header_with("customer")
    user_id = (await service.http.get("/v1/users/me", headers=header)).json()["id"]
    receipt = await request_erasure(service, header)

    seen = []
    for minutes in (9, 1.1, 19, 1.1, 39, 1.1):
        await let_pass(service, minutes=minutes)
        seen.append(await asked(service))

    assert seen == [1, 2, 2, 3, 3, 4]
    for _ in range(6):
        await let_pass(service, minutes=361)
    assert await asked(service) == 10
    await answer(service, receipt, user_id)
    await finish(service)
    await let_pass(service, minutes=10_000)
    assert await asked(service) == 10


async def test_an_erasure_whose_last_step_was_lost_is_finished_by_the_timed_job(service: UsersService) -> None:
    header = await service.header_with("customer")
    user_id = (await service.http.get("/v1/users/me", headers=header)).json()["id"]
    receipt = await request_erasure(service, header)
    await answer(service, receipt, user_id)
    async with service.sessions.begin() as session:
        await session.execute(sa.text("DELETE FROM pgqueuer"))  # as if an operator had dropped the failed job

    await let_pass(service, minutes=11)
    await finish(service)

    assert (await read_receipt(service, receipt["id"]))["status"] == "completed"
    assert await asked(service) == 1


def test_each_table_with_data_of_users_is_erased_or_is_known_to_stay() -> None:
    with_users = {table.name for table in Base.metadata.sorted_tables if "user_id" in table.columns}
    kept = {"credit_account", "credit_reservation", "credit_entry", "security_event", "erasure"}
    assert kept == KEPT_TABLES
    assert with_users - KEPT_TABLES == {
        *("user_session", "one_time_token", "known_device", "sign_in_challenge", "data_export"),
        *("totp", "recovery_code", "passkey", "passkey_user", "passkey_challenge"),
    }

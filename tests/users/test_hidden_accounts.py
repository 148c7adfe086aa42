"""Signing up where the deployment hides its accounts: every sign-up gets the same response."""

from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa

from services.users.app import create_app
from services.users.settings import Settings
from tests.harness.asgi import client_of
from tests.harness.databases import execute_as_owner
from tests.harness.executed_statements import executed_statements
from tests.harness.problems import problem
from tests.harness.rows import Rows
from tests.users.mails import ATTEMPTED, VERIFICATION, mailed_token, mails, run_jobs, security_events
from tests.users.service import ADA, PASSWORD, UsersService


@pytest.fixture
async def service(settings: Settings) -> AsyncIterator[UsersService]:
    app = create_app(settings.model_copy(update={"sign_up_reveals_accounts": False}))
    async with client_of(app) as client:
        yield UsersService(app, client)
    await app.state.sessions.kw["bind"].dispose()
    await app.state.cache.close()


async def test_a_new_and_a_known_address_get_the_same_response_by_the_same_statements(service: UsersService) -> None:
    account = await service.create_account(email=ADA["email"])
    engine, varying = service.sessions.kw["bind"], {"x-request-id", "content-length", "ratelimit"}
    answers = []
    for email in ("first@orderly.example", "new@orderly.example", ADA["email"]):
        with executed_statements(engine) as statements:
            response = await service.http.post("/v1/users", json=ADA | {"email": email})
        assert response.json() == {"email": email}
        headers = {name: value for name, value in response.headers.items() if name not in varying}
        answers.append((response.status_code, headers, statements))

    new, known = answers[1:]  # the first request also prepares
    assert new[0] == 202
    assert len(new[2]) == 1
    assert known == new
    await run_jobs(service)
    assert [mail.email for mail in await mails(service, VERIFICATION)] == [
        "first@orderly.example",
        "new@orderly.example",
    ]
    assert [mail.email for mail in await mails(service, ATTEMPTED)] == [account.email]


async def test_a_new_user_is_created_after_the_response_and_gets_the_mail(service: UsersService) -> None:
    await service.http.post("/v1/users", json=ADA | {"phone": "+442071838750"})
    ((payload,),) = await Rows(service.sessions).of("SELECT encode(payload, 'escape') FROM pgqueuer")

    await run_jobs(service)

    assert ADA["email"] not in payload
    await service.sign_in()
    ((created, data), (verification, _)) = await service.events(without=())
    assert (created, data["email"], data["phone"]) == ("user.created", ADA["email"], "+442071838750")
    assert verification == VERIFICATION
    body = {"token": await mailed_token(service, VERIFICATION), "password": PASSWORD}
    assert (await service.http.post("/v1/email-verifications", json=body)).status_code == 204


async def test_the_owner_of_a_known_address_continues_with_the_mailed_link(service: UsersService) -> None:
    await service.create_account(email=ADA["email"])
    await service.http.post("/v1/users", json=ADA)
    await run_jobs(service)

    body = {"token": await mailed_token(service, ATTEMPTED), "new_password": PASSWORD}
    response = await service.http.post("/v1/password-resets/confirmation", json=body)

    assert response.status_code == 204
    await service.sign_in()
    assert await Rows(service.sessions).count("user_account") == 1


async def test_a_repeated_sign_up_with_a_key_is_one_and_mails_are_limited(service: UsersService) -> None:
    header = {"Idempotency-Key": "sign-up-of-ada"}
    first = await service.http.post("/v1/users", json=ADA, headers=header)
    repeat = await service.http.post("/v1/users", json=ADA, headers=header)
    assert (first.status_code, repeat.status_code, repeat.json()) == (202, 202, first.json())
    assert await Rows(service.sessions).count("pgqueuer") == 1

    for _ in range(5):
        await service.http.post("/v1/users", json=ADA)
    await run_jobs(service)

    assert len(await mails(service, VERIFICATION)) == 1
    assert len(await mails(service, ATTEMPTED)) == 1
    assert await security_events(service) == [("sign_up_attempted", "anonymous", {})]


async def test_an_account_is_told_again_after_a_day_and_every_account_by_itself(service: UsersService) -> None:
    for email in (ADA["email"], "eve@orderly.example"):
        await service.create_account(email=email)

    for is_a_day_later in (False, False, True, False):
        if is_a_day_later:
            await execute_as_owner(
                service.sessions,
                "ALTER TABLE security_event DISABLE TRIGGER USER",
                "UPDATE security_event SET occurred_at = occurred_at - interval '1 day'",
                "ALTER TABLE security_event ENABLE TRIGGER USER",
            )
        await service.http.post("/v1/users", json=ADA)
        await run_jobs(service)
    await service.http.post("/v1/users", json=ADA | {"email": "eve@orderly.example"})
    await run_jobs(service)

    told = [mail.email for mail in await mails(service, ATTEMPTED)]
    assert told == [ADA["email"], ADA["email"], "eve@orderly.example"]


async def test_the_owner_of_a_known_address_is_told_in_their_language_and_keeps_the_password(
    service: UsersService,
) -> None:
    await service.http.post("/v1/users", json=ADA | {"locale": "de"})
    await run_jobs(service)
    await service.http.post("/v1/users", json=ADA | {"password": "another good password"})
    await run_jobs(service)

    ((_, told),) = [event for event in await service.events() if event[0] == ATTEMPTED]
    assert (told["email"], told["locale"]) == (ADA["email"], "de")
    await service.sign_in()


async def test_a_job_that_runs_again_mails_no_link(service: UsersService) -> None:
    """The first run may have committed before its process died."""
    await service.http.post("/v1/users", json=ADA)
    async with service.sessions.begin() as session:
        await session.execute(
            sa.text("""
                INSERT INTO pgqueuer (priority, entrypoint, payload, status, execute_after)
                SELECT priority, entrypoint, payload, status, execute_after FROM pgqueuer
            """)
        )

    await run_jobs(service)

    assert await service.events() == []
    assert await Rows(service.sessions).count("user_account") == 1


async def test_an_invalid_sign_up_is_named(service: UsersService) -> None:
    response = await service.http.post("/v1/users", json=ADA | {"email": "ada"})
    assert problem(response) == (422, "validation_failed")

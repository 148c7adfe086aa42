"""Signing in tells neither by its answer nor by its work whether an account exists."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from services.users.credentials.passwords import Passwords
from tests.harness.problems import problem
from tests.users.service import ADA, PASSWORD, UsersService

WRONG = {"email": ADA["email"], "password": "wrong password"}


@contextmanager
def recorded_work(service: UsersService, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Record the statements of the database, and the commands of Valkey, each of which is a round trip."""
    work: list[str] = []
    client, engine = service.app.state.cache.client, service.sessions.kw["bind"].sync_engine
    execute = client.execute_command

    async def recording(*arguments: object, **options: object) -> object:
        work.append(str(arguments[0]))
        return await execute(*arguments, **options)

    def record(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        work.append(statement)

    monkeypatch.setattr(client, "execute_command", recording)
    sa.event.listen(engine, "before_cursor_execute", record)
    try:
        yield work
    finally:
        sa.event.remove(engine, "before_cursor_execute", record)
        monkeypatch.undo()


async def test_every_failed_sign_in_gets_the_same_answer_after_the_same_work(
    service: UsersService, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ada", "eve"):
        await service.sign_up(email=f"{name}@orderly.example")
    async with service.sessions.begin() as session:
        await session.execute(sa.text("UPDATE user_account SET status = 'suspended' WHERE email LIKE 'eve@%'"))
    answers, works = [], []
    for name in ("warm-up", "ada", "eve", "nobody"):
        body = {"email": f"{name}@orderly.example", "password": "wrong password"}
        with recorded_work(service, monkeypatch) as work:
            response = await service.http.post("/v1/sessions", json=body)
        answers.append((response.status_code, response.json() | {"request_id": ""}, set(response.headers)))
        works.append(work)

    assert problem(response) == (401, "credentials_invalid")
    assert response.headers["www-authenticate"] == "Bearer"
    assert [answer == answers[-1] for answer in answers] == [True] * 4
    assert [work == works[-1] for work in works[1:]] == [True] * 3
    assert works[-1].count("EVALSHA") == 3  # the limit of all routes, the limits of sign-in, the delays


async def test_a_sign_in_takes_four_round_trips_to_valkey(
    service: UsersService, monkeypatch: pytest.MonkeyPatch
) -> None:
    await service.sign_up()
    await service.sign_in()  # loads the scripts

    with recorded_work(service, monkeypatch) as work:
        await service.sign_in()

    assert work.count("EVALSHA") == 4


async def test_an_account_without_a_password_takes_as_long_as_a_wrong_password() -> None:
    passwords = Passwords(concurrency=1)
    stored = await passwords.hash(SecretStr(PASSWORD))

    async def seconds(stored_hash: str | None) -> float:
        started_at = time.process_time()
        check = await passwords.verify(SecretStr("wrong password"), stored_hash=stored_hash)
        assert not check.is_right
        return time.process_time() - started_at

    known = min([await seconds(stored) for _ in range(5)])
    unknown = min([await seconds(None) for _ in range(5)])
    assert 0.5 < unknown / known < 2


async def test_a_suspended_account_says_so_to_the_right_password_only(service: UsersService) -> None:
    await service.sign_up()
    async with service.sessions.begin() as session:
        await session.execute(sa.text("UPDATE user_account SET status = 'suspended'"))

    wrong = await service.http.post("/v1/sessions", json=WRONG)
    right = await service.http.post("/v1/sessions", json=WRONG | {"password": PASSWORD})

    assert problem(wrong) == (401, "credentials_invalid")
    assert problem(right) == (403, "account_inactive")

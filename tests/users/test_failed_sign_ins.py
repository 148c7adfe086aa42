"""Failed sign-ins in the security record: who tried from where, for 30 days, and never more than a bound."""

from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from services.users import jobs
from services.users.credentials.failed_sign_ins import FailedSignIns
from services.users.security_record.commands import ANONYMOUS, Origin
from tests.harness.problems import problem
from tests.harness.rows import Rows
from tests.users.service import ADA, UsersService

AGENT = {"User-Agent": "guesser/1"}


async def guess(service: UsersService, email: str) -> tuple[int, str]:
    body = {"email": email, "password": "a wrong guess"}
    return problem(await service.http.post("/v1/sessions", json=body, headers=AGENT))


async def failed(service: UsersService) -> list[tuple[Any, ...]]:
    return await Rows(service.sessions).of("""
        SELECT user_id, actor, address, user_agent, details FROM security_event
        WHERE kind = 'sign_in_failed' ORDER BY id
    """)


async def test_a_wrong_password_is_recorded_with_its_origin_and_without_the_address_that_was_typed(
    service: UsersService,
) -> None:
    user = await service.sign_up()

    known, unknown = await guess(service, ADA["email"]), await guess(service, "nobody@orderly.example")

    assert known == unknown == (401, "credentials_invalid")
    assert await failed(service) == [
        (UUID(user["id"]), "anonymous", "127.0.0.1", "guesser/1", {}),
        (None, "anonymous", "127.0.0.1", "guesser/1", {}),
    ]


async def test_the_user_and_admins_see_it(service: UsersService) -> None:
    header = await service.sign_up_and_in()
    admin = await service.header_with("admin")
    await guess(service, ADA["email"])

    own = (await service.http.get("/v1/users/me/security-events", headers=header)).json()["items"]
    all_ = await service.http.get("/v1/security-events", params={"kind": "sign_in_failed"}, headers=admin)

    assert (own[0]["kind"], own[0]["actor"], own[0]["address"]) == ("sign_in_failed", "anonymous", "127.0.0.1")
    assert [entry["id"] for entry in all_.json()["items"]] == [own[0]["id"]]


async def test_a_delayed_attempt_is_not_recorded(service: UsersService) -> None:
    await service.sign_up()

    guesses = [await guess(service, ADA["email"]) for _ in range(8)]

    assert guesses.count((401, "credentials_invalid")) == 3
    assert guesses.count((429, "too_many_attempts")) == 5
    assert len(await failed(service)) == 3


async def test_an_hour_has_a_bound_and_the_next_one_begins_anew(service: UsersService) -> None:
    now = 3_600.0 * 7
    failures = FailedSignIns(max_per_hour=2, clock=lambda: now)
    origin = Origin("192.0.2.7", None)

    for _ in range(4):
        await failures.append(service.sessions, user_id=None, origin=origin)
    assert len(await failed(service)) == 2
    now += 3_600
    await failures.append(service.sessions, user_id=None, origin=origin)

    assert await failed(service) == [(None, ANONYMOUS, "192.0.2.7", None, {})] * 3


async def test_failed_sign_ins_are_purged_after_30_days_and_nothing_else_is(service: UsersService) -> None:
    async with service.sessions.begin() as session:
        await session.execute(
            sa.text("""
                INSERT INTO security_event (kind, actor, details, occurred_at)
                SELECT kind, 'anonymous', '{}', now() - make_interval(days => days, secs => 60)
                FROM unnest(ARRAY['sign_in_failed', 'signed_in']) AS kind, unnest(ARRAY[29, 30]) AS days
            """)
        )

    await jobs.purge_old_failed_sign_ins(service.sessions)

    left = await Rows(service.sessions).of(
        "SELECT kind, extract(day FROM now() - occurred_at)::int FROM security_event ORDER BY 1, 2"
    )
    assert left == [("sign_in_failed", 29), ("signed_in", 29), ("signed_in", 30)]
    with pytest.raises(IntegrityError, match="append-only"):
        async with service.sessions.begin() as session:
            await session.execute(sa.text("DELETE FROM security_event WHERE kind = 'sign_in_failed'"))

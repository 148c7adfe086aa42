"""Revocations as the users service tells them to others: what it lists, for how long, and to whom."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from services.users import jobs
from services.users.models.sessions import RevokedSession, UserSession
from services.users.sessions.queries import _REVOCATIONS
from services.users.sessions.revocation import revoke_all_sessions
from tests.harness.databases import execute_as_owner
from tests.harness.problems import problem
from tests.harness.waiting import until
from tests.users.service import UsersService, bearer

ORDERS = {"Authorization": "Bearer the token of orders"}
PATH = "/internal/revoked-sessions"


async def listed(service: UsersService, since: str | None = None) -> dict[str, Any]:
    params = {"since": since} if since else {}
    response = await service.http.get(PATH, headers=ORDERS, params=params)
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


async def sign_out(service: UsersService, tokens: dict[str, Any]) -> None:
    response = await service.http.delete(f"/v1/sessions/{tokens['session_id']}", headers=bearer(tokens))
    assert response.status_code == 204


async def test_a_revoked_session_is_listed_until_its_tokens_have_expired(service: UsersService) -> None:
    await service.sign_up()
    tokens, _kept = await service.sign_in(), await service.sign_in()
    before = await listed(service)
    assert (before["sessions"], before["withdrawn_keys"]) == ([], [])

    await sign_out(service, tokens)

    [entry] = (await listed(service))["sessions"]
    assert entry["id"] == tokens["session_id"]
    remaining = datetime.fromisoformat(entry["expires_at"]) - datetime.now(UTC)
    assert timedelta(minutes=14, seconds=50) < remaining < timedelta(minutes=15, seconds=10)

    await service.shift(RevokedSession.revoked_at, by=timedelta(minutes=15, seconds=6))
    assert (await listed(service))["sessions"] == []


async def test_only_what_was_revoked_since_a_time_is_listed(service: UsersService) -> None:
    await service.sign_up()
    first, second = await service.sign_in(), await service.sign_in()
    await sign_out(service, first)
    between = (await listed(service))["as_of"]
    await sign_out(service, second)

    assert [entry["id"] for entry in (await listed(service, since=between))["sessions"]] == [second["session_id"]]


async def test_a_deleted_account_leaves_its_revocations(service: UsersService) -> None:
    """Erasure deletes the sessions. Their access tokens must not come back to life."""
    user = await service.sign_up()
    tokens = [await service.sign_in() for _ in range(2)]
    async with service.sessions.begin() as session:
        assert await revoke_all_sessions(session, user_id=user["id"], actor="system") == 2
        await session.execute(sa.text("DELETE FROM user_account"))

    assert {entry["id"] for entry in (await listed(service))["sessions"]} == {each["session_id"] for each in tokens}


async def test_the_list_is_read_with_an_index(service: UsersService) -> None:
    many = sa.text("""
        INSERT INTO revoked_session
        SELECT gen_random_uuid(), now() - n * interval '1 s' FROM generate_series(1, 20000) n
    """)
    async with service.sessions.begin() as session:
        await session.execute(many)
    await execute_as_owner(service.sessions, "ANALYZE revoked_session")
    async with service.sessions() as session:
        read = sa.text(f"EXPLAIN {_REVOCATIONS.text}")
        times = {"since": datetime.now(UTC) - timedelta(seconds=30), "valid_for": timedelta(minutes=15)}
        plan = "\n".join(await session.scalars(read, times))
    assert "using ix_revoked_session_revoked_at" in plan
    assert "Seq Scan on revoked_session" not in plan


async def test_only_another_service_may_read_the_list(service: UsersService) -> None:
    user = await service.sign_up_and_in()
    assert problem(await service.http.get(PATH)) == (401, "token_missing")
    for header in (user, {"Authorization": "Bearer another"}):
        assert problem(await service.http.get(PATH, headers=header)) == (401, "token_invalid")
    assert PATH not in service.app.openapi()["paths"]


async def test_an_invalid_time_is_named(service: UsersService) -> None:
    for time in ("yesterday", "2026-11-23T17:30:00"):
        response = await service.http.get(PATH, headers=ORDERS, params={"since": time})
        assert problem(response) == (422, "validation_failed")


async def test_the_service_itself_refuses_the_tokens_of_an_ended_session_within_seconds(
    service: UsersService,
) -> None:
    await service.sign_up()
    tokens = await service.sign_in()
    await sign_out(service, tokens)

    async def code() -> Any:
        return (await service.http.get("/v1/users/me", headers=bearer(tokens))).json().get("code")

    async def is_refused() -> bool:
        return await code() is not None

    await until(is_refused, seconds=4, what="the token is refused")
    assert await code() == "token_revoked"


async def test_old_revocations_are_purged(service: UsersService) -> None:
    await service.sign_up()
    old, new = await service.sign_in(), await service.sign_in()
    await sign_out(service, old)
    await service.shift(RevokedSession.revoked_at, by=jobs.MAX_TOKEN_LIFETIME)
    await sign_out(service, new)

    await jobs.purge_sessions(service.sessions)

    async with service.sessions() as session:
        left = await session.scalars(sa.select(RevokedSession.session_id))
    assert [str(session_id) for session_id in left] == [new["session_id"]]


async def test_simultaneous_sign_outs_everywhere_end_each_session_once(service: UsersService) -> None:
    user = await service.sign_up()
    for _ in range(5):
        await service.sign_in()

    async def revoke() -> int:
        async with service.sessions.begin() as session:
            return await revoke_all_sessions(session, user_id=user["id"])

    assert sum(await asyncio.gather(*(revoke() for _ in range(4)))) == 5
    async with service.sessions() as session:
        assert await session.scalar(sa.select(sa.func.count(UserSession.revoked_at))) == 5

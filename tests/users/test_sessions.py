"""Sessions: refresh, reuse of a token, list, sign out, purge."""

import asyncio
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import httpx2
import sqlalchemy as sa

from services.users import jobs
from services.users.models.sessions import RefreshToken, UserSession
from tests.harness.problems import problem
from tests.users.service import UsersService, bearer

EXPIRED_SESSIONS = sa.text("""
    WITH expired AS (
        INSERT INTO user_session (id, user_id, created_at, last_used_at, expires_at)
        SELECT gen_random_uuid(), :user_id, now() - interval '31 days', now() - interval '31 days',
               now() - interval '1 day'
        FROM generate_series(1, :number)
        RETURNING id
    )
    INSERT INTO refresh_token (token_hash, session_id, expires_at)
    SELECT sha256(id::text::bytea), id, now() - interval '1 day' FROM expired
""")


async def refresh(service: UsersService, tokens: dict[str, Any]) -> httpx2.Response:
    return await service.http.post("/v1/sessions/refresh", json={"refresh_token": tokens["refresh_token"]})


async def expire_earlier(service: UsersService, model: type[UserSession] | type[RefreshToken], by: timedelta) -> None:
    async with service.sessions.begin() as session:
        await session.execute(sa.update(model).values(expires_at=model.expires_at - by))


async def count(service: UsersService, model: type[UserSession] | type[RefreshToken]) -> int:
    async with service.sessions() as session:
        return await session.scalar(sa.select(sa.func.count()).select_from(model)) or 0


async def revocations(service: UsersService) -> list[datetime]:
    async with service.sessions() as session:
        query = sa.select(UserSession.revoked_at).where(UserSession.revoked_at.is_not(None))
        return [at for at in await session.scalars(query) if at is not None]


async def test_a_refresh_returns_new_tokens_of_the_same_session(service: UsersService) -> None:
    await service.sign_up()
    first = await service.sign_in()

    response = await refresh(service, first)

    second = response.json()
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    assert second["session_id"] == first["session_id"]
    assert second["refresh_token"] != first["refresh_token"]
    assert (await service.http.get("/v1/users/me", headers=bearer(second))).status_code == 200
    assert (await refresh(service, second)).status_code == 200


async def test_refresh_tokens_are_stored_as_hashes_only(service: UsersService) -> None:
    await service.sign_up()
    tokens = await service.sign_in()

    async with service.sessions() as session:
        stored = await session.scalar(sa.text("SELECT refresh_token::text FROM refresh_token"))
    assert tokens["refresh_token"] not in stored
    assert tokens["refresh_token"].encode().hex() not in stored


async def test_a_reused_refresh_token_revokes_its_session(service: UsersService) -> None:
    await service.sign_up()
    first, elsewhere = await service.sign_in(), await service.sign_in()
    second = (await refresh(service, first)).json()

    reused = await refresh(service, first)

    assert problem(reused) == (401, "refresh_token_reused")
    assert problem(await refresh(service, second)) == (401, "refresh_token_invalid")
    assert (await refresh(service, elsewhere)).status_code == 200

    ended_at = await revocations(service)
    assert problem(await refresh(service, first)) == (401, "refresh_token_reused")
    assert await revocations(service) == ended_at


async def test_simultaneous_uses_of_a_refresh_token_revoke_the_session(service: UsersService) -> None:
    await service.sign_up()
    tokens = await service.sign_in()

    responses = await asyncio.gather(*(refresh(service, tokens) for _ in range(6)))

    codes = sorted(response.status_code for response in responses)
    assert codes == [200, 401, 401, 401, 401, 401]
    assert {problem(a) for a in responses if a.status_code == 401} == {(401, "refresh_token_reused")}
    [pair] = [response.json() for response in responses if response.status_code == 200]
    assert problem(await refresh(service, pair)) == (401, "refresh_token_invalid")


async def test_an_unknown_refresh_token_is_rejected(service: UsersService) -> None:
    assert problem(await refresh(service, {"refresh_token": "unknown"})) == (401, "refresh_token_invalid")


async def test_an_expired_refresh_token_is_rejected_and_revokes_nothing(service: UsersService) -> None:
    await service.sign_up()
    first = await service.sign_in()
    await expire_earlier(service, RefreshToken, timedelta(days=30))
    assert problem(await refresh(service, first)) == (401, "refresh_token_invalid")

    async with service.sessions() as session:
        assert await session.scalar(sa.select(UserSession.revoked_at)) is None


async def test_an_expired_session_can_be_neither_refreshed_nor_revoked(service: UsersService) -> None:
    header = await service.sign_up_and_in()
    tokens = await service.sign_in()
    await expire_earlier(service, UserSession, timedelta(days=30))

    assert problem(await refresh(service, tokens)) == (401, "refresh_token_invalid")
    ended = await service.http.delete(f"/v1/sessions/{tokens['session_id']}", headers=header)
    assert problem(ended) == (404, "session_not_found")


async def test_a_refresh_extends_the_session(service: UsersService) -> None:
    await service.sign_up()
    tokens = await service.sign_in()
    await expire_earlier(service, UserSession, timedelta(days=29))
    await expire_earlier(service, RefreshToken, timedelta(days=29))

    await refresh(service, tokens)

    async with service.sessions() as session:
        remaining = await session.scalar(sa.select(UserSession.expires_at - sa.func.now()))
    assert remaining is not None
    assert timedelta(days=29, hours=23) < remaining <= timedelta(days=30)


async def test_own_sessions_are_listed_newest_first_page_by_page(service: UsersService) -> None:
    header = await service.sign_up_and_in()
    started = [(await service.sign_in())["session_id"] for _ in range(3)]
    await service.sign_up(email="grace@orderly.example")
    await service.sign_in(email="grace@orderly.example")

    first = await service.http.get("/v1/sessions", params={"limit": 2}, headers=header)
    second = await service.http.get(first.links["next"]["url"], headers=header)

    assert ids(first.json()["items"]) == [started[2], started[1]]
    assert ids(second.json()["items"])[0] == started[0]
    assert [item["is_current"] for item in second.json()["items"]] == [False, True]
    assert second.json()["next_cursor"] is None
    current = second.json()["items"][1]
    assert current == {
        "id": current["id"],
        "user_agent": service.http.headers["user-agent"],
        "created_at": current["created_at"],
        "last_used_at": current["last_used_at"],
        "expires_at": current["expires_at"],
        "is_current": True,
    }


async def test_signing_out_ends_the_session(service: UsersService) -> None:
    header = await service.sign_up_and_in()
    tokens = await service.sign_in()

    response = await service.http.delete(f"/v1/sessions/{tokens['session_id']}", headers=header)

    assert (response.status_code, response.content) == (204, b"")
    assert problem(await refresh(service, tokens)) == (401, "refresh_token_invalid")
    listed = (await service.http.get("/v1/sessions", headers=header)).json()["items"]
    assert tokens["session_id"] not in ids(listed)
    again = await service.http.delete(f"/v1/sessions/{tokens['session_id']}", headers=header)
    assert problem(again) == (404, "session_not_found")


async def test_the_session_of_another_user_is_not_found(service: UsersService) -> None:
    await service.sign_up()
    tokens = await service.sign_in()
    other = await service.sign_up_and_in(email="grace@orderly.example")

    response = await service.http.delete(f"/v1/sessions/{tokens['session_id']}", headers=other)

    assert problem(response) == (404, "session_not_found")
    assert (await refresh(service, tokens)).status_code == 200


async def test_a_forged_cursor_is_rejected(service: UsersService) -> None:
    header = await service.sign_up_and_in()
    response = await service.http.get("/v1/sessions", params={"cursor": "bm9uc2Vuc2U"}, headers=header)
    assert problem(response) == (422, "cursor_invalid")


async def test_expired_sessions_are_purged_with_their_tokens(service: UsersService) -> None:
    user = await service.sign_up()
    alive = (await refresh(service, await service.sign_in())).json()
    async with service.sessions.begin() as session:
        await session.execute(EXPIRED_SESSIONS, {"user_id": user["id"], "number": jobs.BATCH_SIZE + 1})
    assert await count(service, UserSession) == jobs.BATCH_SIZE + 2
    assert await count(service, RefreshToken) == jobs.BATCH_SIZE + 3

    await jobs.purge_sessions(service.sessions)

    assert (await count(service, UserSession), await count(service, RefreshToken)) == (1, 2)
    assert (await refresh(service, alive)).status_code == 200


async def test_expired_tokens_of_an_open_session_are_purged(service: UsersService) -> None:
    await service.sign_up()
    tokens = await service.sign_in()
    async with service.sessions.begin() as session:
        await session.execute(sa.update(RefreshToken).values(expires_at=sa.func.now() + timedelta(seconds=5)))
    tokens = (await refresh(service, tokens)).json()
    async with service.sessions.begin() as session:
        used = RefreshToken.used_at.is_not(None)
        await session.execute(sa.update(RefreshToken).where(used).values(expires_at=sa.func.now() - timedelta(days=1)))

    await jobs.purge_sessions(service.sessions)

    assert (await count(service, UserSession), await count(service, RefreshToken)) == (1, 1)
    assert (await refresh(service, tokens)).status_code == 200


def ids(items: Iterable[dict[str, Any]]) -> list[str]:
    return [item["id"] for item in items]

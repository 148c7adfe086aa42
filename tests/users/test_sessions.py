"""Sessions: refreshing, what a stolen token leads to, listing, signing out, forgetting."""

import asyncio
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import httpx2
import sqlalchemy as sa

from services.users import jobs
from services.users.models import RefreshToken, UserSession
from tests.users.front_door import FrontDoor, bearer, problem

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


async def refresh(users: FrontDoor, tokens: dict[str, Any]) -> httpx2.Response:
    return await users.client.post("/v1/sessions/refresh", json={"refresh_token": tokens["refresh_token"]})


async def age(users: FrontDoor, model: type[UserSession] | type[RefreshToken], by: timedelta) -> None:
    async with users.sessions.begin() as session:
        await session.execute(sa.update(model).values(expires_at=model.expires_at - by))


async def count(users: FrontDoor, model: type[UserSession] | type[RefreshToken]) -> int:
    async with users.sessions() as session:
        return await session.scalar(sa.select(sa.func.count()).select_from(model)) or 0


async def revocations(users: FrontDoor) -> list[datetime]:
    async with users.sessions() as session:
        query = sa.select(UserSession.revoked_at).where(UserSession.revoked_at.is_not(None))
        return [at for at in await session.scalars(query) if at is not None]


async def test_a_refresh_token_gives_the_next_pair_of_the_same_session(users: FrontDoor) -> None:
    await users.sign_up()
    first = await users.sign_in()

    answer = await refresh(users, first)

    second = answer.json()
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert second["session_id"] == first["session_id"]
    assert second["refresh_token"] != first["refresh_token"]
    assert (await users.client.get("/v1/users/me", headers=bearer(second))).status_code == 200
    assert (await refresh(users, second)).status_code == 200


async def test_refresh_tokens_are_stored_as_hashes_only(users: FrontDoor) -> None:
    await users.sign_up()
    tokens = await users.sign_in()

    async with users.sessions() as session:
        stored = await session.scalar(sa.text("SELECT refresh_token::text FROM refresh_token"))
    assert tokens["refresh_token"] not in stored
    assert tokens["refresh_token"].encode().hex() not in stored


async def test_a_token_that_comes_again_ends_its_session_for_both_holders(users: FrontDoor) -> None:
    await users.sign_up()
    first, elsewhere = await users.sign_in(), await users.sign_in()
    second = (await refresh(users, first)).json()

    reused = await refresh(users, first)

    assert problem(reused) == (401, "refresh_token_reused")
    assert problem(await refresh(users, second)) == (401, "refresh_token_invalid")
    assert (await refresh(users, elsewhere)).status_code == 200

    ended_at = await revocations(users)
    assert problem(await refresh(users, first)) == (401, "refresh_token_reused")
    assert await revocations(users) == ended_at


async def test_of_many_uses_at_once_one_succeeds_and_the_session_ends(users: FrontDoor) -> None:
    await users.sign_up()
    tokens = await users.sign_in()

    answers = await asyncio.gather(*(refresh(users, tokens) for _ in range(6)))

    codes = sorted(answer.status_code for answer in answers)
    assert codes == [200, 401, 401, 401, 401, 401]
    assert {problem(a) for a in answers if a.status_code == 401} == {(401, "refresh_token_reused")}
    [pair] = [answer.json() for answer in answers if answer.status_code == 200]
    assert problem(await refresh(users, pair)) == (401, "refresh_token_invalid")


async def test_an_unknown_refresh_token_is_refused(users: FrontDoor) -> None:
    assert problem(await refresh(users, {"refresh_token": "unknown"})) == (401, "refresh_token_invalid")


async def test_an_expired_refresh_token_is_refused_and_ends_nothing(users: FrontDoor) -> None:
    await users.sign_up()
    first = await users.sign_in()
    await age(users, RefreshToken, timedelta(days=30))
    assert problem(await refresh(users, first)) == (401, "refresh_token_invalid")

    async with users.sessions() as session:
        assert await session.scalar(sa.select(UserSession.revoked_at)) is None


async def test_a_session_that_has_expired_can_neither_be_refreshed_nor_ended(users: FrontDoor) -> None:
    header = await users.signed_in()
    tokens = await users.sign_in()
    await age(users, UserSession, timedelta(days=30))

    assert problem(await refresh(users, tokens)) == (401, "refresh_token_invalid")
    ended = await users.client.delete(f"/v1/sessions/{tokens['session_id']}", headers=header)
    assert problem(ended) == (404, "session_not_found")


async def test_a_refresh_moves_the_end_of_the_session(users: FrontDoor) -> None:
    await users.sign_up()
    tokens = await users.sign_in()
    await age(users, UserSession, timedelta(days=29))
    await age(users, RefreshToken, timedelta(days=29))

    await refresh(users, tokens)

    async with users.sessions() as session:
        remaining = await session.scalar(sa.select(UserSession.expires_at - sa.func.now()))
    assert remaining is not None
    assert timedelta(days=29, hours=23) < remaining <= timedelta(days=30)


async def test_own_sessions_are_listed_newest_first_page_by_page(users: FrontDoor) -> None:
    header = await users.signed_in()
    started = [(await users.sign_in())["session_id"] for _ in range(3)]
    await users.sign_up(email="grace@orderly.example")
    await users.sign_in(email="grace@orderly.example")

    first = await users.client.get("/v1/sessions", params={"limit": 2}, headers=header)
    second = await users.client.get(first.links["next"]["url"], headers=header)

    assert ids(first.json()["items"]) == [started[2], started[1]]
    assert ids(second.json()["items"])[0] == started[0]
    assert [item["is_current"] for item in second.json()["items"]] == [False, True]
    assert second.json()["next_cursor"] is None
    current = second.json()["items"][1]
    assert current == {
        "id": current["id"],
        "user_agent": users.client.headers["user-agent"],
        "created_at": current["created_at"],
        "last_used_at": current["last_used_at"],
        "expires_at": current["expires_at"],
        "is_current": True,
    }


async def test_signing_out_ends_the_session_and_takes_it_off_the_list(users: FrontDoor) -> None:
    header = await users.signed_in()
    tokens = await users.sign_in()

    answer = await users.client.delete(f"/v1/sessions/{tokens['session_id']}", headers=header)

    assert (answer.status_code, answer.content) == (204, b"")
    assert problem(await refresh(users, tokens)) == (401, "refresh_token_invalid")
    listed = (await users.client.get("/v1/sessions", headers=header)).json()["items"]
    assert tokens["session_id"] not in ids(listed)
    again = await users.client.delete(f"/v1/sessions/{tokens['session_id']}", headers=header)
    assert problem(again) == (404, "session_not_found")


async def test_the_session_of_another_user_is_not_there(users: FrontDoor) -> None:
    await users.sign_up()
    tokens = await users.sign_in()
    other = await users.signed_in(email="grace@orderly.example")

    answer = await users.client.delete(f"/v1/sessions/{tokens['session_id']}", headers=other)

    assert problem(answer) == (404, "session_not_found")
    assert (await refresh(users, tokens)).status_code == 200


async def test_a_forged_cursor_is_refused(users: FrontDoor) -> None:
    header = await users.signed_in()
    answer = await users.client.get("/v1/sessions", params={"cursor": "bm9uc2Vuc2U"}, headers=header)
    assert problem(answer) == (422, "cursor_invalid")


async def test_expired_sessions_and_tokens_are_cleaned_up(users: FrontDoor) -> None:
    user = await users.sign_up()
    alive = (await refresh(users, await users.sign_in())).json()
    async with users.sessions.begin() as session:
        await session.execute(EXPIRED_SESSIONS, {"user_id": user["id"], "number": jobs.BATCH + 1})
    assert await count(users, UserSession) == jobs.BATCH + 2
    assert await count(users, RefreshToken) == jobs.BATCH + 3

    await jobs.clean_up_expired_sessions(users.sessions)

    assert (await count(users, UserSession), await count(users, RefreshToken)) == (1, 2)
    assert (await refresh(users, alive)).status_code == 200


async def test_used_tokens_of_a_living_session_are_cleaned_up_when_they_expire(users: FrontDoor) -> None:
    await users.sign_up()
    tokens = await users.sign_in()
    async with users.sessions.begin() as session:
        await session.execute(sa.update(RefreshToken).values(expires_at=sa.func.now() + timedelta(seconds=5)))
    tokens = (await refresh(users, tokens)).json()
    async with users.sessions.begin() as session:
        used = RefreshToken.used_at.is_not(None)
        await session.execute(sa.update(RefreshToken).where(used).values(expires_at=sa.func.now() - timedelta(days=1)))

    await jobs.clean_up_expired_sessions(users.sessions)

    assert (await count(users, UserSession), await count(users, RefreshToken)) == (1, 1)
    assert (await refresh(users, tokens)).status_code == 200


def ids(items: Iterable[dict[str, Any]]) -> list[str]:
    return [item["id"] for item in items]

"""Sessions: list, sign out, their number, purge."""

import asyncio
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from services.users import jobs
from services.users.models.sessions import RefreshToken, RevokedSession, UserSession
from services.users.security_record.commands import Origin
from services.users.sessions.commands import start_session
from services.users.sessions.device_names import device_name
from services.users.sessions.queries import open_sessions_of
from services.users.settings import Settings
from tests.harness.asgi import client_of
from tests.harness.problems import problem
from tests.users.service import ADA, PASSWORD, UsersService, bearer

WEBKIT, SAFARI = "AppleWebKit/605.1.15 (KHTML, like Gecko)", "Safari/604.1"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
EXPIRED_SESSIONS = sa.text("""
    WITH expired AS (
        INSERT INTO user_session (
            id, user_id, device, amr, authenticated_at, created_at, last_used_at, expires_at, ends_at
        )
        SELECT gen_random_uuid(), :user_id, 'unknown', ARRAY['pwd'], at, at, at, now() - interval '1 day', now()
        FROM generate_series(1, :number), (SELECT now() - interval '31 days' AS at) AS began
        RETURNING id
    )
    INSERT INTO refresh_token (token_hash, session_id, expires_at)
    SELECT sha256(id::text::bytea), id, now() - interval '1 day' FROM expired
""")


async def count(service: UsersService, model: type[UserSession] | type[RefreshToken] | type[RevokedSession]) -> int:
    async with service.sessions() as session:
        return await session.scalar(sa.select(sa.func.count()).select_from(model)) or 0


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
        "device": "Python",
        "address": "127.0.0.1",
        "user_agent": service.http.headers["user-agent"],
        "methods": ["pwd"],
        "authenticated_at": current["created_at"],
        "created_at": current["created_at"],
        "last_used_at": current["last_used_at"],
        "expires_at": current["expires_at"],
        "ends_at": current["ends_at"],
        "is_current": True,
    }


async def test_signing_out_ends_the_session(service: UsersService) -> None:
    header = await service.sign_up_and_in()
    tokens = await service.sign_in()

    response = await service.http.delete(f"/v1/sessions/{tokens['session_id']}", headers=header)

    assert (response.status_code, response.content) == (204, b"")
    assert problem(await service.refresh(tokens)) == (401, "refresh_token_invalid")
    listed = (await service.http.get("/v1/sessions", headers=header)).json()["items"]
    assert tokens["session_id"] not in ids(listed)
    again = await service.http.delete(f"/v1/sessions/{tokens['session_id']}", headers=header)
    assert problem(again) == (404, "session_not_found")


async def test_a_session_shows_the_device_and_the_address_of_its_last_use(service: UsersService) -> None:
    header = await service.sign_up_and_in()
    async with client_of(service.app, address="192.0.2.7") as http:
        credentials = {"email": ADA["email"], "password": PASSWORD}
        tokens = (await http.post("/v1/sessions", json=credentials, headers={"User-Agent": FIREFOX})).json()

    async def shown() -> tuple[str, str]:
        item = (await service.http.get("/v1/sessions", headers=header)).json()["items"][0]
        return item["device"], item["address"]

    assert await shown() == ("Firefox on Linux", "192.0.2.7")
    await service.refresh(tokens)
    assert await shown() == ("Python", "127.0.0.1")


@pytest.mark.parametrize(
    ("user_agent", "name"),
    [
        (FIREFOX, "Firefox on Linux"),
        (
            f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/140.0.0.0 {SAFARI} Edg/140.0.0.0",
            "Edge on Windows",
        ),
        (f"Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) {WEBKIT} Version/18.0 {SAFARI}", "Safari on iPhone"),
        (f"Mozilla/5.0 (Linux; Android 10; K) {WEBKIT} Chrome/140.0.0.0 Mobile {SAFARI}", "Chrome on Android"),
        ("curl/8.14.1", "curl"),
        ("<script>alert(1)</script>", "Unknown device"),
        (None, "Unknown device"),
    ],
)
def test_a_device_is_named_after_its_program_and_system(user_agent: str | None, name: str) -> None:
    assert device_name(user_agent) == name


async def test_a_sign_in_and_a_sign_out_are_recorded(service: UsersService) -> None:
    header = await service.sign_up_and_in()
    tokens = await service.sign_in()
    await service.http.delete(f"/v1/sessions/{tokens['session_id']}", headers=header)

    assert (await service.recorded("signed_in"))[1] == {"session_id": tokens["session_id"], "methods": ["pwd"]}
    assert await service.recorded("session_revoked") == [{"session_id": tokens["session_id"]}]


@pytest.mark.parametrize(("keep_current", "left"), [(False, 0), (True, 1)])
async def test_signing_out_everywhere_ends_all_sessions(service: UsersService, keep_current: bool, left: int) -> None:
    await service.sign_up()
    others = [await service.sign_in() for _ in range(2)]
    current = await service.sign_in()
    await service.sign_up(email="grace@orderly.example")
    of_grace = await service.sign_in(email="grace@orderly.example")

    response = await service.http.delete("/v1/sessions", params={"keep_current": keep_current}, headers=bearer(current))

    assert response.status_code == 204
    assert [(await service.refresh(each)).status_code for each in others] == [401, 401]
    assert (await service.refresh(current)).status_code == (200 if left else 401)
    assert (await service.refresh(of_grace)).status_code == 200
    assert await service.recorded("sessions_revoked") == [{"sessions": 3 - left}]


async def test_the_session_that_was_used_longest_ago_ends_when_there_are_too_many(service: UsersService) -> None:
    await service.sign_up()
    first, second, *others = [await service.sign_in() for _ in range(5)]
    await service.refresh(first)

    others.append(await service.sign_in())

    statuses = [(await service.refresh(each)).status_code for each in (first, second, *others)]
    assert statuses == [200, 401, 200, 200, 200, 200]
    assert await service.recorded("session_revoked") == [
        {"session_id": second["session_id"], "reason": "too_many_sessions"}
    ]


async def test_simultaneous_sign_ins_do_not_exceed_the_limit(service: UsersService, settings: Settings) -> None:
    account = await service.create_account()

    async def start() -> None:
        async with service.sessions.begin() as session:
            origin = Origin("192.0.2.7", None)
            await start_session(
                session, account=account, origin=origin, methods=["pwd"], limits=settings.session_limits
            )

    await asyncio.gather(*(start() for _ in range(8)))

    async with service.sessions() as session:
        assert len((await session.scalars(open_sessions_of(account.id))).all()) == settings.sessions_per_user


async def test_the_session_of_another_user_is_not_found(service: UsersService) -> None:
    await service.sign_up()
    tokens = await service.sign_in()
    other = await service.sign_up_and_in(email="grace@orderly.example")

    response = await service.http.delete(f"/v1/sessions/{tokens['session_id']}", headers=other)

    assert problem(response) == (404, "session_not_found")
    assert (await service.refresh(tokens)).status_code == 200


async def test_a_forged_cursor_is_rejected(service: UsersService) -> None:
    header = await service.sign_up_and_in()
    response = await service.http.get("/v1/sessions", params={"cursor": "bm9uc2Vuc2U"}, headers=header)
    assert problem(response) == (422, "cursor_invalid")


async def test_expired_sessions_are_purged_with_their_tokens(service: UsersService) -> None:
    user = await service.sign_up()
    alive = (await service.refresh(await service.sign_in())).json()
    async with service.sessions.begin() as session:
        await session.execute(EXPIRED_SESSIONS, {"user_id": user["id"], "number": jobs.BATCH_SIZE + 1})
    assert await count(service, UserSession) == jobs.BATCH_SIZE + 2
    assert await count(service, RefreshToken) == jobs.BATCH_SIZE + 3

    await jobs.purge_sessions(service.sessions)

    assert (await count(service, UserSession), await count(service, RefreshToken)) == (1, 2)
    assert (await service.refresh(alive)).status_code == 200


async def test_expired_tokens_of_an_open_session_are_purged(service: UsersService) -> None:
    await service.sign_up()
    tokens = await service.sign_in()
    async with service.sessions.begin() as session:
        await session.execute(sa.update(RefreshToken).values(expires_at=sa.func.now() + timedelta(seconds=5)))
    tokens = (await service.refresh(tokens)).json()
    async with service.sessions.begin() as session:
        used = RefreshToken.used_at.is_not(None)
        await session.execute(sa.update(RefreshToken).where(used).values(expires_at=sa.func.now() - timedelta(days=1)))

    await jobs.purge_sessions(service.sessions)

    assert (await count(service, UserSession), await count(service, RefreshToken)) == (1, 1)
    assert (await service.refresh(tokens)).status_code == 200


def ids(items: Iterable[dict[str, Any]]) -> list[str]:
    return [item["id"] for item in items]

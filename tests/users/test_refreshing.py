"""Refreshing a session: rotation, the grace for a repeated token, reuse of a stolen one, and the session's end."""

import asyncio
from datetime import timedelta

import jwt
import sqlalchemy as sa

from services.users import jobs
from services.users.models.sessions import RefreshToken, UserSession
from services.users.sessions.refresh_tokens import seal, unseal
from tests.harness.problems import problem
from tests.users.service import UsersService, bearer

GRACE = timedelta(seconds=10)


async def end_grace(service: UsersService) -> None:
    """Let every token have been used eleven seconds earlier."""
    await service.shift(RefreshToken.used_at, by=GRACE + timedelta(seconds=1))


async def test_a_refresh_returns_new_tokens_of_the_same_session(service: UsersService) -> None:
    await service.sign_up()
    first = await service.sign_in()

    response = await service.refresh(first)

    second = response.json()
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    assert second["session_id"] == first["session_id"]
    assert second["refresh_token"] != first["refresh_token"]
    assert (await service.http.get("/v1/users/me", headers=bearer(second))).status_code == 200
    assert (await service.refresh(second)).status_code == 200


async def test_refresh_tokens_are_never_stored_in_plain_text(service: UsersService) -> None:
    await service.sign_up()
    first = await service.sign_in()
    second = (await service.refresh(first)).json()

    async with service.sessions() as session:
        stored = "".join(await session.scalars(sa.text("SELECT refresh_token::text FROM refresh_token")))
    for tokens in (first, second):
        assert tokens["refresh_token"] not in stored
        assert tokens["refresh_token"].encode().hex() not in stored


async def test_the_same_token_gets_the_same_successor_within_the_grace(service: UsersService) -> None:
    """The response was lost: the client sends the request again, and stays signed in."""
    await service.sign_up()
    first = await service.sign_in()

    second, again = (await service.refresh(first)).json(), (await service.refresh(first)).json()

    assert again["refresh_token"] == second["refresh_token"]
    assert (await service.http.get("/v1/users/me", headers=bearer(again))).status_code == 200
    assert (await service.refresh(again)).status_code == 200


async def test_simultaneous_uses_of_a_token_get_the_same_successor(service: UsersService) -> None:
    """Two tabs refresh at once."""
    await service.sign_up()
    tokens = await service.sign_in()

    responses = await asyncio.gather(*(service.refresh(tokens) for _ in range(6)))

    assert [response.status_code for response in responses] == [200] * 6
    [successor] = {response.json()["refresh_token"] for response in responses}
    assert (await service.refresh({"refresh_token": successor})).status_code == 200


async def test_a_token_that_is_reused_after_the_grace_revokes_its_session(service: UsersService) -> None:
    await service.sign_up()
    first, elsewhere = await service.sign_in(), await service.sign_in()
    second = (await service.refresh(first)).json()
    await end_grace(service)

    reused = await service.refresh(first)

    assert problem(reused) == (401, "refresh_token_reused")
    assert problem(await service.refresh(second)) == (401, "refresh_token_invalid")
    assert (await service.refresh(elsewhere)).status_code == 200
    assert problem(await service.refresh(first)) == (401, "refresh_token_reused")
    assert await service.recorded("refresh_token_reused") == [{"session_id": first["session_id"]}]


async def test_a_repeated_token_of_a_revoked_session_gets_no_successor(service: UsersService) -> None:
    await service.sign_up()
    first = await service.sign_in()
    second = (await service.refresh(first)).json()
    await service.http.delete(f"/v1/sessions/{first['session_id']}", headers=bearer(second))

    assert problem(await service.refresh(first)) == (401, "refresh_token_invalid")


async def test_successors_are_removed_after_the_grace(service: UsersService) -> None:
    await service.sign_up()
    await service.refresh(await service.sign_in())
    kept = (await service.refresh(await service.sign_in())).json()
    async with service.sessions.begin() as session:
        of_others = RefreshToken.session_id != kept["session_id"]
        await session.execute(
            sa.update(RefreshToken).where(of_others).values(used_at=RefreshToken.used_at - jobs.MAX_GRACE)
        )

    await jobs.remove_successors(service.sessions)

    async with service.sessions() as session:
        sealed = sa.select(RefreshToken.session_id).where(RefreshToken.sealed_successor.is_not(None))
        assert [str(session_id) for session_id in await session.scalars(sealed)] == [kept["session_id"]]


def test_only_who_has_the_predecessor_can_read_a_successor() -> None:
    sealed = seal("successor", predecessor="predecessor")

    assert unseal(sealed, predecessor="predecessor") == "successor"
    assert unseal(sealed, predecessor="another") is None
    assert unseal(sealed[:-1] + b"x", predecessor="predecessor") is None
    assert seal("successor", predecessor="predecessor") != sealed


async def test_an_unknown_token_is_rejected(service: UsersService) -> None:
    assert problem(await service.refresh({"refresh_token": "unknown"})) == (401, "refresh_token_invalid")


async def test_an_expired_token_is_rejected_and_revokes_nothing(service: UsersService) -> None:
    await service.sign_up()
    first = await service.sign_in()
    await service.shift(RefreshToken.expires_at, by=timedelta(days=30))
    assert problem(await service.refresh(first)) == (401, "refresh_token_invalid")

    async with service.sessions() as session:
        assert await session.scalar(sa.select(UserSession.revoked_at)) is None


async def test_an_expired_session_can_be_neither_refreshed_nor_revoked(service: UsersService) -> None:
    header = await service.sign_up_and_in()
    tokens = await service.sign_in()
    await service.shift(UserSession.expires_at, by=timedelta(days=30))

    assert problem(await service.refresh(tokens)) == (401, "refresh_token_invalid")
    ended = await service.http.delete(f"/v1/sessions/{tokens['session_id']}", headers=header)
    assert problem(ended) == (404, "session_not_found")


async def remaining(service: UsersService) -> timedelta:
    """Return the time until the only session expires."""
    async with service.sessions() as session:
        seconds = sa.func.extract("epoch", UserSession.expires_at - sa.func.now())
        return timedelta(seconds=float((await session.scalars(sa.select(seconds))).one()))


async def test_a_refresh_extends_the_session(service: UsersService) -> None:
    await service.sign_up()
    tokens = await service.sign_in()
    await service.shift(UserSession.expires_at, by=timedelta(days=29))
    await service.shift(RefreshToken.expires_at, by=timedelta(days=29))

    await service.refresh(tokens)

    assert timedelta(days=29, hours=23) < await remaining(service) <= timedelta(days=30)


async def test_no_refresh_extends_the_session_beyond_its_absolute_end(service: UsersService) -> None:
    await service.sign_up()
    tokens = await service.sign_in()
    async with service.sessions.begin() as session:
        end = sa.func.now() + timedelta(minutes=5)
        await session.execute(sa.update(UserSession).values(ends_at=end, expires_at=end))

    refreshed = (await service.refresh(tokens)).json()

    assert timedelta(minutes=4) < await remaining(service) <= timedelta(minutes=5)
    assert 240 < refreshed["expires_in"] <= 300
    claims = jwt.decode(refreshed["access_token"], options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == refreshed["expires_in"]


async def test_a_refresh_keeps_the_time_and_the_methods_of_the_sign_in(service: UsersService) -> None:
    await service.sign_up()
    tokens = await service.sign_in()
    await service.shift(UserSession.authenticated_at, by=timedelta(hours=1))

    refreshed = (await service.refresh(tokens)).json()

    before, after = (
        jwt.decode(each["access_token"], options={"verify_signature": False}) for each in (tokens, refreshed)
    )
    assert before["amr"] == after["amr"] == ["pwd"]
    assert 3_599 <= before["auth_time"] - after["auth_time"] <= 3_601

"""Signing in with a second factor: the challenge after the right password, and how it is answered."""

import asyncio

import pytest
import sqlalchemy as sa

from services.users import jobs
from services.users.models.sessions import SignInChallenge
from services.users.sessions.challenges import MAX_ATTEMPTS, ChallengeInvalid, end_challenge, take_challenge
from tests.harness.problems import problem
from tests.users.second_factors import User
from tests.users.service import ADA, UsersService


@pytest.fixture
async def challenge(ada: User) -> str:
    """The challenge of a sign-in with the right password."""
    await ada.add_totp()
    response = await ada.sign_in()
    assert problem(response) == (401, "second_factor_required")
    assert response.json()["methods"] == ["otp", "rc"]
    return str(response.json()["challenge"])


async def take(service: UsersService, challenge: str) -> str:
    async with service.sessions.begin() as session:
        return (await take_challenge(session, challenge=challenge)).email


async def end(service: UsersService, challenge: str) -> list[str]:
    async with service.sessions.begin() as session:
        return [*await end_challenge(session, challenge=challenge)]


async def test_a_right_password_alone_starts_no_session(service: UsersService, challenge: str) -> None:
    async with service.sessions() as session:
        stored = await session.scalar(sa.text("SELECT string_agg(c::text, '') FROM sign_in_challenge c"))
        # The session that has added the second factor.
        assert await session.scalar(sa.text("SELECT count(*) FROM user_session")) == 1
    assert challenge not in stored
    assert len(await service.recorded("signed_in")) == 1


async def test_a_challenge_names_its_account_until_it_is_ended(service: UsersService, challenge: str) -> None:
    assert await take(service, challenge) == ADA["email"]
    assert await end(service, challenge) == ["pwd"]

    for use in (take, end):
        with pytest.raises(ChallengeInvalid):
            await use(service, challenge)


async def test_a_challenge_starts_one_session_at_most(service: UsersService, challenge: str) -> None:
    outcomes = await asyncio.gather(*(end(service, challenge) for _ in range(4)), return_exceptions=True)
    assert sorted(map(type, outcomes), key=str) == [list] + [ChallengeInvalid] * 3


async def test_the_answers_to_a_challenge_are_limited(service: UsersService, challenge: str) -> None:
    outcomes = await asyncio.gather(
        *(take(service, challenge) for _ in range(MAX_ATTEMPTS + 3)), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes].count(ChallengeInvalid) == 3


async def test_an_expired_challenge_is_refused_and_purged(service: UsersService, challenge: str) -> None:
    async with service.sessions.begin() as session:
        await session.execute(sa.update(SignInChallenge).values(expires_at=sa.func.now()))
    with pytest.raises(ChallengeInvalid):
        await take(service, challenge)

    await jobs.purge_sessions(service.sessions)

    async with service.sessions() as session:
        assert await session.scalar(sa.select(sa.func.count()).select_from(SignInChallenge)) == 0


async def test_a_wrong_password_gets_no_challenge(service: UsersService, challenge: str) -> None:
    response = await service.http.post("/v1/sessions", json={"email": ADA["email"], "password": "wrong password"})
    assert problem(response) == (401, "credentials_invalid")
    assert challenge not in response.text

"""While the database is away nobody can sign up or in, is told so, and has not failed an attempt by it."""

from services.users.settings import Settings
from tests.harness.database_outages import refusing_connections
from tests.users.front_door import ADA, PASSWORD, FrontDoor, bearer, problem

UNAVAILABLE = (503, "database_unavailable")


async def test_whoever_signs_up_or_in_is_told_to_come_again(
    users: FrontDoor, settings: Settings, postgres_admin_url: str
) -> None:
    await users.sign_up()
    tokens = await users.sign_in()
    async with refusing_connections(postgres_admin_url, settings.database_url):
        answers = [
            await users.client.post("/v1/users", json=ADA | {"email": "grace@orderly.example"}),
            await users.client.post("/v1/sessions", json={"email": ADA["email"], "password": PASSWORD}),
            await users.client.post("/v1/sessions/refresh", json={"refresh_token": tokens["refresh_token"]}),
            await users.client.get("/v1/users/me", headers=bearer(tokens)),
        ]
    assert [problem(answer) for answer in answers] == [UNAVAILABLE] * 4
    again = await users.client.post("/v1/sessions/refresh", json={"refresh_token": tokens["refresh_token"]})
    assert again.status_code == 200


async def test_an_attempt_to_sign_in_that_met_no_database_does_not_count(
    users: FrontDoor, settings: Settings, postgres_admin_url: str
) -> None:
    await users.sign_up()
    async with refusing_connections(postgres_admin_url, settings.database_url):
        for _ in range(settings.sign_in_failures_per_account + 1):
            answer = await users.client.post("/v1/sessions", json={"email": ADA["email"], "password": PASSWORD})
            assert problem(answer) == UNAVAILABLE
    await users.sign_in()

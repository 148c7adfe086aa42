"""Requests while the database is unavailable: they get a 503, and no sign-in counts as failed."""

from services.users.settings import Settings
from tests.harness.database_outages import refusing_connections
from tests.harness.problems import problem
from tests.users.service import ADA, PASSWORD, UsersService, bearer

UNAVAILABLE = (503, "database_unavailable")


async def test_requests_get_a_503_and_succeed_later(
    service: UsersService, settings: Settings, postgres_admin_url: str
) -> None:
    await service.sign_up()
    tokens = await service.sign_in()
    async with refusing_connections(postgres_admin_url, settings.database_url):
        responses = [
            await service.http.post("/v1/users", json=ADA | {"email": "grace@orderly.example"}),
            await service.http.post("/v1/sessions", json={"email": ADA["email"], "password": PASSWORD}),
            await service.http.post("/v1/sessions/refresh", json={"refresh_token": tokens["refresh_token"]}),
            await service.http.get("/v1/users/me", headers=bearer(tokens)),
        ]
    assert [problem(response) for response in responses] == [UNAVAILABLE] * 4
    again = await service.http.post("/v1/sessions/refresh", json={"refresh_token": tokens["refresh_token"]})
    assert again.status_code == 200


async def test_an_attempt_without_a_database_does_not_count_as_failed(
    service: UsersService, settings: Settings, postgres_admin_url: str
) -> None:
    await service.sign_up()
    async with refusing_connections(postgres_admin_url, settings.database_url):
        for _ in range(settings.sign_in_free_failures + 1):
            response = await service.http.post("/v1/sessions", json={"email": ADA["email"], "password": PASSWORD})
            assert problem(response) == UNAVAILABLE
    await service.sign_in()

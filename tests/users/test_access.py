"""Access to the routes of the users service. `tests/access` walks through all of them."""

from tests.harness.problems import problem
from tests.users.service import UsersService


async def test_an_unsigned_token_is_rejected(service: UsersService) -> None:
    header = {"Authorization": "Bearer eyJhbGciOiJub25lIn0.e30."}
    assert problem(await service.http.get("/v1/users/me", headers=header)) == (401, "token_invalid")

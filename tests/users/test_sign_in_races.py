"""Changes of an account that commit while a sign-in is on its way: no session must escape them."""

import asyncio

import pytest
import sqlalchemy as sa

from services.users.sessions.revocation import revoke_all_sessions
from tests.harness.problems import problem
from tests.harness.waiting import until
from tests.users.service import ADA, PASSWORD, UsersService

WAITING = sa.text(
    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ("password_hash = 'another'", (401, "credentials_invalid")),
        ("status = 'suspended'", (403, "account_inactive")),
        ("second_factor = true", (401, "credentials_invalid")),
    ],
)
async def test_a_sign_in_that_began_before_a_change_starts_no_session_after_it(
    service: UsersService, change: str, error: tuple[int, str]
) -> None:
    user = await service.sign_up()
    async with service.sessions.begin() as session:
        await session.execute(sa.text(f"UPDATE user_account SET {change}"))  # noqa: S608 - ours
        assert await revoke_all_sessions(session, user_id=user["id"]) == 0
        signing_in = asyncio.create_task(
            service.http.post("/v1/sessions", json={"email": ADA["email"], "password": PASSWORD})
        )

        async def waits() -> bool:
            async with service.sessions() as other:
                return bool(await other.scalar(WAITING))

        await until(waits, what="the sign-in waits for the account")

    assert problem(await signing_in) == error
    async with service.sessions() as session:
        assert await session.scalar(sa.text("SELECT count(*) FROM user_session")) == 0

"""The mails that the users service asks for, as events with sealed content, and the jobs that ask for some of them."""

from typing import Any

import sqlalchemy as sa

from services.users.recovery.jobs import with_recovery
from shared.connection_urls import dsn_of
from shared.events.users import AccountMail
from shared.jobs import JobRunner, Jobs
from tests.harness.rows import Rows
from tests.harness.running import running
from tests.harness.waiting import until
from tests.users.service import UsersService

VERIFICATION = "user.email_verification_requested"
CHANGE = "user.email_change_requested"
RESET = "user.password_reset_requested"
ATTEMPTED = "user.sign_up_attempted"


async def mails(service: UsersService, *types: str) -> list[AccountMail]:
    """Return what the events of these types say about their mails, in order."""
    events = await service.events(without=())
    return [AccountMail.model_validate(data) for type_, data in events if type_ in types]


async def mailed_token(service: UsersService, type_: str) -> str:
    """Return the token of the last mail of a type."""
    return (await mails(service, type_))[-1].token


async def types_of_events(service: UsersService) -> list[str]:
    """Return the types of the recorded events after those of sign-ups."""
    return [type_ for type_, _ in await service.events()]


async def run_jobs(service: UsersService) -> None:
    """Run the jobs that are queued."""
    settings = service.app.state.settings
    jobs = with_recovery(Jobs(), settings=settings, encryption=service.app.state.encryption)
    rows = Rows(service.sessions)

    async def none_is_left() -> bool:
        return await rows.count("pgqueuer") == 0

    async with running(JobRunner(jobs, dsn=dsn_of(settings.database_url), sessions=service.sessions)):
        await until(none_is_left, what="every job has run")


async def ask_for_reset(service: UsersService, email: str) -> None:
    """Ask for a reset, and run the job that asks for the mail."""
    response = await service.http.post("/v1/password-resets", json={"email": email})
    assert (response.status_code, response.json()) == (202, {"expires_in": 3600})
    await run_jobs(service)


async def security_events(service: UsersService) -> list[tuple[str, str, dict[str, Any]]]:
    """Return kind, actor and details of the entries of the record, in order, without those of sign-ins and sessions."""
    rows = await Rows(service.sessions).of("""
        SELECT kind, actor, details FROM security_event
        WHERE kind NOT IN ('account_created', 'signed_in', 'sign_in_failed', 'sessions_revoked', 'session_revoked')
        ORDER BY id
    """)
    return [(kind, actor, details) for kind, actor, details in rows]


async def move_back(service: UsersService, *, hours: int) -> None:
    """Let all one-time tokens be older."""
    async with service.sessions.begin() as session:
        await session.execute(
            sa.text("""
                UPDATE one_time_token SET created_at = created_at - make_interval(hours => :hours),
                                          expires_at = expires_at - make_interval(hours => :hours)
            """),
            {"hours": hours},
        )

"""A request that PostgreSQL chooses as the victim of a deadlock is run again."""

import asyncio
from functools import partial

import asyncpg
import sqlalchemy as sa
from fastapi import Depends, FastAPI
from sqlalchemy.engine import make_url
from structlog.testing import capture_logs

from shared.database import open_database
from shared.http.auth import public
from shared.http.dependencies import SessionsDep
from shared.http.problems import install_problems
from shared.http.request_context import RequestContextMiddleware
from tests.harness.asgi import client_of
from tests.harness.databases import DatabaseFactory
from tests.harness.rows import Rows
from tests.harness.statements import execute
from tests.harness.waiting import until

UPDATE = "UPDATE note SET size = size + 1 WHERE text = '{}'"


async def _waits_for_lock(rows: Rows, pid: int) -> bool:
    # pg_stat_activity does not show to this role what a superuser's session waits for.
    return bool(await rows.of("SELECT 1 FROM pg_locks WHERE pid = :pid AND NOT granted", pid=pid))


async def test_a_request_that_meets_a_deadlock_is_run_again(
    database_factory: DatabaseFactory, postgres_admin_url: str
) -> None:
    url = await database_factory()
    database = open_database(url, service="test", pool_size=3)
    await execute(database.sessions, "CREATE TABLE note (text text, size integer)")
    await execute(database.sessions, "INSERT INTO note VALUES ('a', 0), ('b', 0)")
    # A session that waits for a lock looks for a deadlock after `deadlock_timeout`, and the one that finds it is the
    # victim. The other connection does not look before the request has. Only a superuser may set that.
    other = await asyncpg.connect(
        postgres_admin_url, database=make_url(url).database, server_settings={"deadlock_timeout": "60s"}
    )
    app = FastAPI()
    app.state.sessions = database.sessions
    install_problems(app)
    app.add_middleware(RequestContextMiddleware)
    holds_a, may_go_on, has_lost = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @app.post("/notes", dependencies=[Depends(public)])
    async def update_both(sessions: SessionsDep) -> None:
        if may_go_on.is_set():
            await has_lost.wait()  # repeated at once, it could lock `a` before the other connection does
        async with sessions.begin() as session:
            await session.execute(sa.text(UPDATE.format("a")))
            holds_a.set()
            await may_go_on.wait()
            await session.execute(sa.text(UPDATE.format("b")))

    rows = Rows(database.sessions)
    async with client_of(app) as client:
        with capture_logs() as logs:
            request = asyncio.create_task(client.post("/notes"))
            await holds_a.wait()
            async with other.transaction():
                await other.execute(UPDATE.format("b"))
                waiting = asyncio.create_task(other.execute(UPDATE.format("a")))
                await until(
                    partial(_waits_for_lock, rows, other.get_server_pid()),
                    what="the other connection waits for the request",
                )
                # The request closes the cycle as soon as it waits for `b`.
                may_go_on.set()
                await waiting
                has_lost.set()
            assert (await request).status_code == 200
    assert [line["error"][:21] for line in logs if line["event"] == "request_repeated"] == ["DeadlockDetectedError"]
    assert await rows.of("SELECT size FROM note") == [(2,), (2,)]
    await other.close()
    await database.close()

"""A request that PostgreSQL chooses as the victim of a deadlock is run again."""

import asyncio

import asyncpg
import sqlalchemy as sa
from fastapi import Depends, FastAPI
from structlog.testing import capture_logs

from shared.connection_urls import dsn_of
from shared.database import open_database
from shared.http.auth import public
from shared.http.dependencies import SessionsDep
from shared.http.problems import install_problems
from shared.http.request_context import RequestContextMiddleware
from tests.harness.asgi import client_of
from tests.harness.databases import DatabaseFactory, until_waiting

UPDATE = "UPDATE note SET size = size + 1 WHERE text = '{}'"


async def test_a_request_that_meets_a_deadlock_is_run_again(database_factory: DatabaseFactory) -> None:
    url = await database_factory()
    other = await asyncpg.connect(dsn_of(url))
    await other.execute("CREATE TABLE note (text text, size integer); INSERT INTO note VALUES ('a', 0), ('b', 0)")
    database = open_database(url, service="test", pool_size=3)
    app = FastAPI()
    app.state.sessions = database.sessions
    install_problems(app)
    app.add_middleware(RequestContextMiddleware)
    holds_a, may_go_on = asyncio.Event(), asyncio.Event()

    @app.post("/notes", dependencies=[Depends(public)])
    async def update_both(sessions: SessionsDep) -> None:
        async with sessions.begin() as session:
            await session.execute(sa.text(UPDATE.format("a")))
            holds_a.set()
            await may_go_on.wait()
            await session.execute(sa.text(UPDATE.format("b")))

    async with client_of(app) as client:
        with capture_logs() as logs:
            request = asyncio.create_task(client.post("/notes"))
            await holds_a.wait()
            async with other.transaction():
                await other.execute(UPDATE.format("b"))
                # Whoever waits first is the victim: it looks for a deadlock after a second.
                may_go_on.set()
                await until_waiting(database.sessions, transactions=1)
                await other.execute(UPDATE.format("a"))
            assert (await request).status_code == 200
        assert [line["error"][:21] for line in logs if line["event"] == "request_repeated"] == ["DeadlockDetectedError"]
        assert [row["size"] for row in await other.fetch("SELECT size FROM note ORDER BY text")] == [2, 2]
    await other.close()
    await database.close()

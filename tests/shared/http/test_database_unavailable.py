"""A transient database error is a 503 that tells the client to retry; every other unexpected error is a 500."""

from collections.abc import AsyncIterator, Awaitable, Callable

import httpx2
import pytest
import sqlalchemy as sa
from fastapi import Depends, FastAPI, Request
from sqlalchemy.ext.asyncio import AsyncSession
from structlog.testing import capture_logs

from shared.database import Database, open_database
from shared.http.auth import public
from shared.http.dependencies import SessionsDep
from shared.http.problems import install_problems
from shared.http.request_context import RequestContextMiddleware
from tests.harness.asgi import client_of
from tests.harness.database_outages import cut_connections, refusing_connections
from tests.harness.databases import DatabaseFactory
from tests.harness.problems import problem

Work = Callable[[AsyncSession], Awaitable[None]]
NAME = "Ada Lovelace"


def make_app(database: Database) -> FastAPI:
    """Return an application whose route runs `app.state.work` in a transaction."""
    app = FastAPI()
    app.state.sessions = database.sessions
    install_problems(app)
    app.add_middleware(RequestContextMiddleware)

    @app.post("/work", dependencies=[Depends(public)])
    async def work(request: Request, sessions: SessionsDep) -> None:
        async with sessions.begin() as session:
            await session.execute(sa.text("SELECT CAST(:name AS text)"), {"name": NAME})
            await request.app.state.work(session)

    return app


class WorkClient:
    """A client of the application, and its database."""

    def __init__(self, app: FastAPI, client: httpx2.AsyncClient, *, database_url: str, admin_url: str) -> None:
        self._app = app
        self._client = client
        self.database_url = database_url
        self.admin_url = admin_url

    async def do(self, work: Work) -> httpx2.Response:
        """Send a request whose transaction runs `work`."""
        self._app.state.work = work
        return await self._client.post("/work")

    async def cut(self, _session: AsyncSession | None = None) -> None:
        """Terminate every connection to the database."""
        await cut_connections(self.admin_url, self.database_url)


@pytest.fixture
async def database_url(database_factory: DatabaseFactory) -> str:
    return await database_factory()


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = open_database(database_url, service="test", pool_size=1)
    yield opened
    await opened.close()


@pytest.fixture
async def client(database: Database, database_url: str, postgres_admin_url: str) -> AsyncIterator[WorkClient]:
    app = make_app(database)
    async with client_of(app) as client:
        yield WorkClient(app, client, database_url=database_url, admin_url=postgres_admin_url)


def running(statement: str) -> Work:
    async def work(session: AsyncSession) -> None:
        for each in statement.split(" THEN "):
            await session.execute(sa.text(each))

    return work


async def nothing(_session: AsyncSession) -> None:
    pass


def is_unavailable(response: httpx2.Response) -> bool:
    return problem(response) == (503, "database_unavailable")


async def test_a_database_that_rejects_connections_is_a_503_until_it_is_back(client: WorkClient) -> None:
    async with refusing_connections(client.admin_url, client.database_url):
        response = await client.do(nothing)
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["retry-after"] == "2"
    assert response.status_code == 503
    assert response.json() == {
        "type": "urn:orderly:problem:database_unavailable",
        "title": "The database is temporarily unavailable",
        "status": 503,
        "code": "database_unavailable",
        "detail": "The request may or may not have been processed."
        " Retry it, with the same Idempotency-Key if it has one.",
        "instance": "/work",
        "request_id": response.headers["x-request-id"],
    }
    assert (await client.do(nothing)).status_code == 200


@pytest.mark.parametrize("host", ["127.0.0.1:9", "localhost:9", "no-such-host.invalid:5432"])
async def test_an_unreachable_database_is_a_503(host: str) -> None:
    unreachable = open_database(f"postgresql+asyncpg://nobody:nothing@{host}/none", service="test", pool_size=1)
    async with client_of(make_app(unreachable)) as client:
        assert is_unavailable(await client.post("/work"))
    await unreachable.close()


async def test_a_connection_lost_at_the_commit_is_a_503(client: WorkClient) -> None:
    assert is_unavailable(await client.do(client.cut))


async def test_a_connection_lost_between_two_statements_is_a_503(client: WorkClient) -> None:
    async def work(session: AsyncSession) -> None:
        await client.cut()
        await session.execute(sa.text("SELECT 1"))

    assert is_unavailable(await client.do(work))


async def test_a_connection_lost_during_a_statement_is_a_503(client: WorkClient) -> None:
    assert is_unavailable(await client.do(running("SELECT pg_terminate_backend(pg_backend_pid()) THEN SELECT 1")))


async def test_a_pool_without_a_free_connection_is_a_503(client: WorkClient, database: Database) -> None:
    database.engine.sync_engine.pool._timeout = 0.2  # type: ignore[attr-defined]  # a test should not wait for 5 s
    async with database.sessions.begin() as session:
        await session.execute(sa.text("SELECT 1"))
        assert is_unavailable(await client.do(nothing))
    assert (await client.do(nothing)).status_code == 200


async def test_a_lock_timeout_is_a_503(client: WorkClient, database_url: str) -> None:
    other = open_database(database_url, service="test", pool_size=1)
    async with other.sessions.begin() as session:
        await session.execute(sa.text("SELECT pg_advisory_xact_lock(1)"))
        response = await client.do(running("SET LOCAL lock_timeout = 20 THEN SELECT pg_advisory_xact_lock(1)"))
    await other.close()
    assert is_unavailable(response)


@pytest.mark.parametrize(
    "statements",
    [
        "SET LOCAL statement_timeout = 20 THEN SELECT pg_sleep(5)",
        "DO $$ BEGIN RAISE EXCEPTION 'deadlock detected' USING ERRCODE = '40P01'; END $$",
        "DO $$ BEGIN RAISE EXCEPTION 'could not serialize access' USING ERRCODE = '40001'; END $$",
    ],
)
async def test_a_transient_error_of_a_statement_is_a_503(client: WorkClient, statements: str) -> None:
    assert is_unavailable(await client.do(running(statements)))


async def test_an_invalid_statement_is_a_500(client: WorkClient) -> None:
    for statement in ("SELECT 1 / 0", "SELECT nothing"):
        response = await client.do(running(statement))
        assert problem(response) == (500, "internal_error")


async def test_an_error_outside_of_the_database_is_a_500_even_in_a_transaction(client: WorkClient) -> None:
    async def missing_file(_session: AsyncSession) -> None:
        raise FileNotFoundError("template")

    async def too_slow(_session: AsyncSession) -> None:
        raise TimeoutError

    for work in (missing_file, too_slow):
        response = await client.do(work)
        assert problem(response) == (500, "internal_error")


async def test_a_transient_error_is_logged_once_as_a_warning_without_parameters(client: WorkClient) -> None:
    with capture_logs() as logs:
        await client.do(running("SELECT pg_terminate_backend(pg_backend_pid()) THEN SELECT 1"))
    [warning, finished] = logs
    assert (finished["event"], finished["status"]) == ("request_finished", 503)
    error = warning.pop("error")
    assert warning == {
        "event": "database_unavailable",
        "log_level": "warning",
        "method": "POST",
        "route": "/work",
    }
    assert "terminating connection" in error
    assert NAME not in error

"""A request whose prepared statement a migration has invalidated is run again; nothing of the first run remains."""

from collections.abc import AsyncIterator

import httpx2
import pytest
import sqlalchemy as sa
from fastapi import Depends, FastAPI, Request
from pydantic import BaseModel
from structlog.testing import capture_logs

from shared.database import Database, open_database
from shared.driver_statements import DriverStatement, fetch
from shared.http.auth import public
from shared.http.dependencies import SessionsDep
from shared.http.problems import install_problems
from shared.http.request_context import MAX_ATTEMPTS, RequestContextMiddleware, add_response_header
from tests.harness.asgi import client_of
from tests.harness.databases import DatabaseFactory
from tests.harness.problems import problem
from tests.harness.rows import Rows

TO_BIGINT = "ALTER TABLE note ALTER COLUMN size TYPE bigint"
TO_INTEGER = "ALTER TABLE note ALTER COLUMN size TYPE integer"
INSERT = "INSERT INTO note (text, size) VALUES (:text, :size) RETURNING *"
INSERT_BY_DRIVER = DriverStatement(INSERT)


class Note(BaseModel):
    """The body of the test's requests."""

    text: str


def make_app(database: Database) -> FastAPI:
    """Return an application that stores notes."""
    app = FastAPI()
    app.state.sessions = database.sessions
    app.state.changes = []
    install_problems(app)
    app.add_middleware(RequestContextMiddleware)

    async def change_schema(sessions: SessionsDep) -> None:
        """Execute the next schema change, after the connection has prepared its statements."""
        if app.state.changes:
            async with sessions() as session:
                await session.execute(sa.text(INSERT), {"text": "rolled back", "size": 0})
                await fetch(session, INSERT_BY_DRIVER, {"text": "rolled back", "size": 0})
            async with sessions.kw["bind"].begin() as connection:
                await connection.exec_driver_sql(app.state.changes.pop(0))

    @app.post("/notes", status_code=201, dependencies=[Depends(public)])
    async def store(body: Note, request: Request, sessions: SessionsDep) -> None:
        add_response_header(request, "X-Attempt", "1")
        await change_schema(sessions)
        async with sessions.begin() as session:
            await session.execute(sa.text(INSERT), {"text": body.text, "size": len(body.text)})

    @app.post("/driver-notes", status_code=201, dependencies=[Depends(public)])
    async def store_by_driver(body: Note, sessions: SessionsDep) -> None:
        await change_schema(sessions)
        async with sessions.begin() as session:
            await fetch(session, INSERT_BY_DRIVER, {"text": body.text, "size": len(body.text)})

    @app.post("/two-notes", status_code=201, dependencies=[Depends(public)])
    async def store_twice(body: Note, sessions: SessionsDep) -> None:
        async with sessions.begin() as session:
            await session.execute(sa.text("INSERT INTO note (text) VALUES ('first')"))
        await change_schema(sessions)
        async with sessions.begin() as session:
            await session.execute(sa.text(INSERT), {"text": body.text, "size": len(body.text)})

    return app


class Notes:
    """The application, its client and its table."""

    def __init__(self, app: FastAPI, http: httpx2.AsyncClient, rows: Rows) -> None:
        self._app = app
        self._rows = rows
        self.http = http

    def change_during_the_next_attempts(self, *statements: str) -> None:
        """Execute a statement in each of the next attempts, before its last transaction."""
        self._app.state.changes = list(statements)

    async def stored(self) -> list[str]:
        """Return the stored texts."""
        return [text for (text,) in await self._rows.of("SELECT text FROM note ORDER BY id")]


@pytest.fixture
async def notes(database_factory: DatabaseFactory) -> AsyncIterator[Notes]:
    database = open_database(await database_factory(), service="test", pool_size=3)
    async with database.sessions.begin() as session:
        await session.execute(sa.text("CREATE TABLE note (id bigserial PRIMARY KEY, text text, size integer)"))
    app = make_app(database)
    async with client_of(app) as client:
        yield Notes(app, client, Rows(database.sessions))
    await database.close()


@pytest.mark.parametrize("path", ["/notes", "/driver-notes"])
async def test_a_request_that_meets_a_schema_change_is_carried_out_once(notes: Notes, path: str) -> None:
    await notes.http.post(path, json={"text": "before"})
    notes.change_during_the_next_attempts(TO_BIGINT)
    with capture_logs() as logs:
        response = await notes.http.post(path, json={"text": "after"})
    assert response.status_code == 201, response.text
    assert await notes.stored() == ["before", "after"]
    assert [line["event"] for line in logs] == ["request_repeated", "request_finished"]
    if path == "/notes":
        assert response.headers.get_list("x-attempt") == ["1"]


async def test_a_request_whose_first_transaction_has_committed_is_not_repeated(notes: Notes) -> None:
    await notes.http.post("/two-notes", json={"text": "second"})
    notes.change_during_the_next_attempts(TO_BIGINT)
    response = await notes.http.post("/two-notes", json={"text": "second"})
    assert problem(response) == (503, "database_unavailable")
    assert await notes.stored() == ["first", "second", "first"]


async def test_a_schema_that_changes_in_every_attempt_is_a_503(notes: Notes) -> None:
    await notes.http.post("/notes", json={"text": "before"})
    changes = [TO_BIGINT, TO_INTEGER, TO_BIGINT]
    assert len(changes) == MAX_ATTEMPTS
    notes.change_during_the_next_attempts(*changes)
    response = await notes.http.post("/notes", json={"text": "after"})
    assert problem(response) == (503, "database_unavailable")
    assert await notes.stored() == ["before"]

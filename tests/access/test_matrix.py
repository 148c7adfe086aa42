"""Every cell of the access matrix is true: what is denied is denied as it says, and what is allowed succeeds.

No statement that a route runs reads a table as a whole because no index serves it.
"""

import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import cast

import asyncpg
import httpx2
import pytest
from fastapi import FastAPI
from sqlalchemy import URL

from services.users.models.accounts import Role
from shared.connection_urls import dsn_of
from shared.http.auth import ANONYMOUS, OWN, SERVICE
from tests.access import (
    notifications_calls,
    operations_calls,
    orders_calls,
    pages_calls,
    second_factor_calls,
    users_calls,
)
from tests.access.calls import BUILDERS, OF_NEW_ACCOUNTS
from tests.access.system import Account, System, running_system
from tests.architecture.source import SERVICES
from tests.contracts.access import ALLOWED, Cell, cells_of, routes_of
from tests.contracts.applications import applications
from tests.harness.databases import DatabaseFactory
from tests.harness.executed_statements import Executed, executed_with_arguments
from tests.harness.explained import unindexed_tables

REGISTERED = (notifications_calls, operations_calls, orders_calls, pages_calls, second_factor_calls, users_calls)
"""The modules that register builders."""
MAY_BE_UNAVAILABLE = {"GET /health", "GET /health/ready", "GET /health/live"}
"""Routes that answer 503 here, because neither Kafka nor the services' loops run."""
SMALL_TABLES = {"signing_key"}
"""Tables of which a process reads all rows, because there are only a few."""
READS_ALL = "/republications"
"""The end of routes that count all rows of a table, since they publish all."""
MIN_STATEMENTS = 20
"""Fewer than the walk of any service executes. If there are fewer, they were not collected."""


@pytest.fixture
async def system(database_factory: DatabaseFactory, valkey_url: str, tmp_path: Path) -> AsyncIterator[System]:
    async with running_system(database_factory, valkey_url=valkey_url, folder=tmp_path) as running:
        yield running


def test_every_route_has_a_builder_and_every_builder_a_route(tmp_path: Path) -> None:
    routes = {route for app in applications(tmp_path).values() for route in routes_of(app)}
    assert set(BUILDERS) == routes


@pytest.mark.parametrize("service", SERVICES)
async def test_every_cell_is_true_and_every_statement_has_an_index(system: System, service: str) -> None:
    cells = cells_of(system.apps[service])
    statements: dict[str, Executed] = {}
    outcomes = {cell: await _outcome(system, service, cell, statements=statements) for cell in cells}

    assert {cell: outcome for cell, outcome in outcomes.items() if outcome != cell.outcome} == {}
    assert len(statements) > MIN_STATEMENTS
    assert await _read_as_a_whole(system.sessions(service).kw["bind"].url, statements) == {}


async def _read_as_a_whole(url: URL, statements: Mapping[str, Executed]) -> dict[str, set[str]]:
    """Return the tables that statements read without an index, by statement."""
    connection = await asyncpg.connect(dsn_of(url.render_as_string(hide_password=False)))
    try:
        tables = {sql: await unindexed_tables(connection, statement) for sql, statement in statements.items()}
    finally:
        await connection.close()
    return {sql: its - SMALL_TABLES for sql, its in tables.items() if its - SMALL_TABLES}


async def _outcome(system: System, service: str, cell: Cell, *, statements: dict[str, Executed]) -> str:
    """Send a request for a cell; return ALLOWED if it succeeded, or the status and the code of the problem.

    Add the statements that it executes to `statements`.
    """
    caller: Account | None = system.accounts.get(cell.role)
    is_new = cell.route in OF_NEW_ACCOUNTS
    if caller is not None and is_new:
        caller = await system.signed_in(cast("Role", cell.role))
    owner = caller if caller is not None and (cell.objects == OWN or is_new) else system.other
    assert (caller is None) == (cell.role in {ANONYMOUS, SERVICE})
    call = await BUILDERS[cell.route](system, owner, cell.objects)
    method, path = cell.route.split(" ")
    assert re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", path), call.path), f"{cell.route} has the builder of {call.path}"
    with executed_with_arguments(system.sessions(service).kw["bind"]) as executed:
        response = await system.clients[service].request(
            method,
            call.path,
            json=call.json,
            data=call.form,
            params=call.params,
            headers={**call.headers, **(caller.header if caller else system.header_of(cell.role))},
        )
    if not path.endswith(READS_ALL):
        statements.update((each.sql, each) for each in executed)
    # A form of the pages responds with a redirect, and so does a page that needs a session, to the sign-in.
    if response.is_success or response.status_code == 303:
        return ALLOWED
    if response.status_code == 503 and cell.route in MAY_BE_UNAVAILABLE:
        return ALLOWED
    return f"{response.status_code} {_code(response)}"


def _code(response: httpx2.Response) -> str:
    return str(response.json().get("code"))


def test_the_walk_covers_all_roles_and_owners(tmp_path: Path) -> None:
    apps: dict[str, FastAPI] = applications(tmp_path)
    cells = [cell for app in apps.values() for cell in cells_of(app)]
    assert {cell.role for cell in cells} == {ANONYMOUS, "customer", "support", "admin", SERVICE}
    assert {cell.objects for cell in cells} == {"", OWN, "another's", "for sale", "not for sale", "only mailed"}

"""Every cell of the access matrix is true: what is denied is denied as it says, and what is allowed succeeds."""

import json
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import asyncpg
import httpx2
import pytest
from fastapi import FastAPI
from joserfc.jwk import OKPKey
from sqlalchemy import URL

from shared.connection_urls import dsn_of
from shared.http.auth import ANONYMOUS, OWN
from tests.access import notifications_calls, operations_calls, orders_calls, users_calls
from tests.access.calls import BUILDERS
from tests.access.system import Account, System, running_system
from tests.architecture.source import SERVICES
from tests.contracts.access import ALLOWED, Cell, cells_of, routes_of
from tests.contracts.applications import applications
from tests.harness.databases import DatabaseFactory
from tests.harness.executed_statements import Executed, executed_with_arguments
from tests.harness.explained import unindexed_tables

REGISTERED = (notifications_calls, operations_calls, orders_calls, users_calls)
"""The modules that register builders."""
MAY_BE_UNAVAILABLE = {"GET /health", "GET /health/ready"}
"""Routes that answer 503 here, because neither Kafka nor the services' loops run."""


@pytest.fixture
async def system(database_factory: DatabaseFactory, valkey_url: str, tmp_path: Path) -> AsyncIterator[System]:
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps({"keys": [OKPKey.generate_key("Ed25519", {"kid": "1"}).as_dict(private=True)]}))
    async with running_system(database_factory, valkey_url=valkey_url, signing_keys_file=keys) as running:
        yield running


def test_every_route_has_a_builder_and_every_builder_a_route(tmp_path: Path) -> None:
    routes = {route for app in applications(tmp_path).values() for route in routes_of(app)}
    assert set(BUILDERS) == routes


@pytest.mark.parametrize("service", SERVICES)
async def test_every_cell_is_true_and_every_statement_has_an_index(system: System, service: str) -> None:
    cells = cells_of(system.apps[service])
    engine = system.sessions(service).kw["bind"]
    with executed_with_arguments(engine) as statements:
        outcomes = {cell: await _outcome(system, service, cell) for cell in cells}

    assert {cell: outcome for cell, outcome in outcomes.items() if outcome != cell.outcome} == {}
    assert await _read_as_a_whole(engine.url, {each.sql: each for each in statements}) == {}


async def _read_as_a_whole(url: URL, statements: Mapping[str, Executed]) -> dict[str, set[str]]:
    """Return the tables that statements read without an index, by statement."""
    connection = await asyncpg.connect(dsn_of(url.render_as_string(hide_password=False)))
    try:
        tables = {sql: await unindexed_tables(connection, statement) for sql, statement in statements.items()}
    finally:
        await connection.close()
    return {sql: its for sql, its in tables.items() if its}


async def _outcome(system: System, service: str, cell: Cell) -> str:
    """Send a request for a cell; return ALLOWED if it succeeded, or the status and the code of the problem."""
    caller: Account | None = system.accounts.get(cell.role)
    owner = caller if caller is not None and cell.objects == OWN else system.other
    assert (caller is None) == (cell.role == ANONYMOUS)
    call = await BUILDERS[cell.route](system, owner, cell.objects)
    method, path = cell.route.split(" ")
    assert re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", path), call.path), f"{cell.route} has the builder of {call.path}"
    response = await system.clients[service].request(
        method,
        call.path,
        json=call.json,
        params=call.params,
        headers={**call.headers, **(caller.header if caller else {})},
    )
    if response.is_success or (response.status_code == 503 and cell.route in MAY_BE_UNAVAILABLE):
        return ALLOWED
    return f"{response.status_code} {_code(response)}"


def _code(response: httpx2.Response) -> str:
    return str(response.json().get("code"))


def test_the_walk_covers_all_roles_and_owners(tmp_path: Path) -> None:
    apps: dict[str, FastAPI] = applications(tmp_path)
    cells = [cell for app in apps.values() for cell in cells_of(app)]
    assert {cell.role for cell in cells} == {ANONYMOUS, "customer", "support", "admin"}
    assert {cell.objects for cell in cells} == {"", OWN, "another's", "for sale", "not for sale"}

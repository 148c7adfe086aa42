"""Every cell of the access matrix is true: what is denied is denied as it says, and what is allowed succeeds."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import httpx2
import pytest
from fastapi import FastAPI

from services.users.models.accounts import Role
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

REGISTERED = (notifications_calls, operations_calls, orders_calls, pages_calls, second_factor_calls, users_calls)
"""The modules that register builders."""
MAY_BE_UNAVAILABLE = {"GET /health", "GET /health/ready", "GET /health/live"}
"""Routes that answer 503 here, because neither Kafka nor the services' loops run."""


@pytest.fixture
async def system(database_factory: DatabaseFactory, valkey_url: str, tmp_path: Path) -> AsyncIterator[System]:
    async with running_system(database_factory, valkey_url=valkey_url, folder=tmp_path) as running:
        yield running


def test_every_route_has_a_builder_and_every_builder_a_route(tmp_path: Path) -> None:
    routes = {route for app in applications(tmp_path).values() for route in routes_of(app)}
    assert set(BUILDERS) == routes


@pytest.mark.parametrize("service", SERVICES)
async def test_every_cell_is_true(system: System, service: str) -> None:
    cells = cells_of(system.apps[service])
    outcomes = {cell: await _outcome(system, service, cell) for cell in cells}

    assert {cell: outcome for cell, outcome in outcomes.items() if outcome != cell.outcome} == {}


async def _outcome(system: System, service: str, cell: Cell) -> str:
    """Send a request for a cell; return ALLOWED if it succeeded, or the status and the code of the problem."""
    caller: Account | None = system.accounts.get(cell.role)
    is_new = cell.route in OF_NEW_ACCOUNTS
    if caller is not None and is_new:
        caller = await system.signed_in(cast("Role", cell.role))
    owner = caller if caller is not None and (cell.objects == OWN or is_new) else system.other
    assert (caller is None) == (cell.role in {ANONYMOUS, SERVICE})
    call = await BUILDERS[cell.route](system, owner, cell.objects)
    method, path = cell.route.split(" ")
    assert re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", path), call.path), f"{cell.route} has the builder of {call.path}"
    response = await system.clients[service].request(
        method,
        call.path,
        json=call.json,
        data=call.form,
        params=call.params,
        headers={**call.headers, **(caller.header if caller else system.header_of(cell.role))},
    )
    # A form of the pages responds with a redirect, and so does a page that needs a session, to the sign-in.
    if (
        response.is_success
        or response.status_code == 303
        or (response.status_code == 503 and cell.route in MAY_BE_UNAVAILABLE)
    ):
        return ALLOWED
    return f"{response.status_code} {_code(response)}"


def _code(response: httpx2.Response) -> str:
    return str(response.json().get("code"))


def test_the_walk_covers_all_roles_and_owners(tmp_path: Path) -> None:
    apps: dict[str, FastAPI] = applications(tmp_path)
    cells = [cell for app in apps.values() for cell in cells_of(app)]
    assert {cell.role for cell in cells} == {ANONYMOUS, "customer", "support", "admin", SERVICE}
    assert {cell.objects for cell in cells} == {"", OWN, "another's", "for sale", "not for sale", "only mailed"}

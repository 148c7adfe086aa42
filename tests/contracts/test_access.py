"""Every route declares its access, and rejects the roles that may not call it before it validates the request."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx2
import pytest
from fastapi import FastAPI

from shared.http.auth import ANONYMOUS, CUSTOMER, SERVICE
from tests.architecture.source import SERVICES
from tests.contracts.access import ALLOWED, Cell, cells_of, routes_of, undeclared_routes
from tests.harness.asgi import client_of
from tests.shared.http.token_issuer import TokenIssuer

SERVICE_TOKEN = "a-token-of-a-service"
SOME_ID = "01890000-0000-7000-8000-000000000000"
READABLE_BY_ID = {"GET /v1/erasures/{erasure_id}/receipt"}
"""Routes for whoever knows an id: it is random, and what it names tells nothing of anybody."""
PAGES = "/account/"
"""Paths of the pages, which ask the API's routes with the permit of their user; a test of users tries others' ids."""


@dataclass(frozen=True)
class Client:
    """A client of one application, and an issuer of the tokens that it accepts."""

    http: httpx2.AsyncClient
    issuer: TokenIssuer
    cells: list[Cell]

    async def call(self, route: str, role: str) -> str:
        """Send a request without body or parameters. Return the status and the code of the problem."""
        method, path = route.split(" ")
        response = await self.http.request(method, re.sub(r"\{\w+\}", SOME_ID, path), headers=self._headers(role))
        return f"{response.status_code} {response.json()['code']}"

    def _headers(self, role: str) -> dict[str, str]:
        if role == ANONYMOUS:
            return {}
        return {"Authorization": f"Bearer {SERVICE_TOKEN}"} if role == SERVICE else self.issuer.header(role)


@pytest.fixture(params=SERVICES)
async def client(request: pytest.FixtureRequest, apps: dict[str, FastAPI]) -> AsyncIterator[Client]:
    app = apps[request.param]
    issuer = TokenIssuer()
    own_verifier, app.state.token_verifier = app.state.token_verifier, issuer.verifier()
    async with client_of(app) as http:
        yield Client(http, issuer, cells_of(app))
    app.state.token_verifier = own_verifier


@pytest.mark.parametrize("service", SERVICES)
def test_every_route_declares_its_access(apps: dict[str, FastAPI], service: str) -> None:
    assert undeclared_routes(apps[service]) == []


@pytest.mark.parametrize("service", SERVICES)
def test_a_route_with_an_id_in_its_path_says_whose_object_it_is_for(apps: dict[str, FastAPI], service: str) -> None:
    """A route that customers may call, and that does not, would show each of them what all others have."""
    missing = [
        route
        for route, access in routes_of(apps[service]).items()
        if re.search(r"\{\w+_id\}", route) and access and CUSTOMER in access.admitted and len(access.rules) == 1
    ]
    assert {route for route in missing if not route.partition(" ")[2].startswith(PAGES)} <= READABLE_BY_ID


async def test_a_role_that_may_use_no_object_is_rejected_before_the_input_is_read(client: Client) -> None:
    admitted = {(cell.route, cell.role) for cell in client.cells if cell.outcome == ALLOWED}
    rejected = {
        (cell.route, cell.role): cell.outcome for cell in client.cells if (cell.route, cell.role) not in admitted
    }
    responses = {(route, role): await client.call(route, role) for route, role in rejected}

    assert rejected
    assert responses == rejected

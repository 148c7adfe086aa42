"""Every route declares its access, and rejects other callers before it validates the request."""

import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import httpx2
import pytest
from fastapi import FastAPI

from shared.http.auth import UNDECLARED
from tests.architecture.source import SERVICES
from tests.contracts.access import routes_of
from tests.harness.asgi import client_of
from tests.shared.http.token_issuer import TokenIssuer

ROLES = ("customer", "support", "admin")
SOME_ID = "01890000-0000-7000-8000-000000000000"


@dataclass(frozen=True)
class Client:
    """A client of one application, and an issuer of the tokens that it accepts."""

    http: httpx2.AsyncClient
    issuer: TokenIssuer
    routes: dict[str, str]

    async def call(self, route: str, *roles: str) -> tuple[int, str]:
        """Send a request without body or parameters, and without a token if no role is given.

        Return the status and the code of the problem.
        """
        method, path = route.split(" ")
        headers = self.issuer.header(*roles) if roles else {}
        response = await self.http.request(method, re.sub(r"\{\w+\}", SOME_ID, path), headers=headers)
        return response.status_code, response.json()["code"]


@pytest.fixture(params=SERVICES)
async def client(request: pytest.FixtureRequest, apps: dict[str, FastAPI]) -> AsyncIterator[Client]:
    app = apps[request.param]
    issuer = TokenIssuer()
    own_verifier, app.state.token_verifier = app.state.token_verifier, issuer.verifier()
    async with client_of(app) as http:
        yield Client(http, issuer, routes_of(app))
    app.state.token_verifier = own_verifier


@pytest.mark.parametrize("service", SERVICES)
def test_every_route_declares_its_access(apps: dict[str, FastAPI], service: str) -> None:
    assert [route for route, access in routes_of(apps[service]).items() if access == UNDECLARED] == []


async def test_a_route_that_is_not_public_requires_a_token(client: Client) -> None:
    protected = [route for route, access in client.routes.items() if access != "public"]
    responses = {route: await client.call(route) for route in protected}

    assert protected
    assert responses == dict.fromkeys(protected, (401, "token_missing"))


async def test_a_route_for_services_rejects_every_user(client: Client) -> None:
    internal = [(route, role) for route, access in client.routes.items() if access == "service" for role in ROLES]
    responses = {(route, role): await client.call(route, role) for route, role in internal}

    assert responses == dict.fromkeys(internal, (401, "token_invalid"))


async def test_a_route_for_a_role_rejects_every_other_role(client: Client) -> None:
    rejected = list(_rejected(client.routes))
    responses = {(route, role): await client.call(route, role) for route, role in rejected}

    assert responses == dict.fromkeys(rejected, (403, "role_required"))


def _rejected(routes: dict[str, str]) -> Iterator[tuple[str, str]]:
    for route, access in routes.items():
        if access not in {"public", "caller", "service"}:
            yield from ((route, role) for role in ROLES if role not in access.split("|"))

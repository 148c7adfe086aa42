"""Every route declares who may call it, and refuses everybody else before it looks at anything."""

import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import httpx2
import pytest
from fastapi import FastAPI
from joserfc.jwk import KeySet, OKPKey

from shared.http.auth import UNDECLARED
from tests.architecture.source import SERVICES
from tests.contracts.access import routes_of
from tests.shared.http.token_issuer import TokenIssuer

ROLES = ("customer", "support", "admin")
SOME_ID = "01890000-0000-7000-8000-000000000000"


@dataclass(frozen=True)
class Door:
    """One application, and somebody whose tokens it believes."""

    client: httpx2.AsyncClient
    issuer: TokenIssuer
    routes: dict[str, str]

    async def knock(self, route: str, *roles: str) -> tuple[int, str]:
        """The status and code of a request with nothing right but its address; no role: no token."""
        method, path = route.split(" ")
        headers = self.issuer.header(*roles) if roles else {}
        response = await self.client.request(method, re.sub(r"\{\w+\}", SOME_ID, path), headers=headers)
        return response.status_code, response.json()["code"]


@pytest.fixture(params=SERVICES)
async def door(request: pytest.FixtureRequest, apps: dict[str, FastAPI]) -> AsyncIterator[Door]:
    app = apps[request.param]
    issuer = TokenIssuer(KeySet([OKPKey.generate_key("Ed25519", {"kid": "test", "use": "sig"})]))
    own_verifier, app.state.token_verifier = app.state.token_verifier, issuer.verifier()
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://service") as client:
        yield Door(client, issuer, routes_of(app))
    app.state.token_verifier = own_verifier


@pytest.mark.parametrize("service", SERVICES)
def test_every_route_declares_its_access(apps: dict[str, FastAPI], service: str) -> None:
    assert [route for route, access in routes_of(apps[service]).items() if access == UNDECLARED] == []


async def test_a_route_that_is_not_public_refuses_a_caller_without_a_token(door: Door) -> None:
    guarded = [route for route, access in door.routes.items() if access != "public"]
    answers = {route: await door.knock(route) for route in guarded}

    assert guarded
    assert answers == dict.fromkeys(guarded, (401, "token_missing"))


async def test_a_route_for_a_role_refuses_every_other_role(door: Door) -> None:
    refused = list(_refused(door.routes))
    answers = {(route, role): await door.knock(route, role) for route, role in refused}

    assert answers == dict.fromkeys(refused, (403, "role_required"))


def _refused(routes: dict[str, str]) -> Iterator[tuple[str, str]]:
    for route, access in routes.items():
        if access not in {"public", "caller"}:
            yield from ((route, role) for role in ROLES if role not in access.split("|"))

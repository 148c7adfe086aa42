"""Access control: routes are public, or require an access token, or a role; and the access matrix of an application."""

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, FastAPI, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import iter_route_contexts
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from structlog.contextvars import bind_contextvars

from shared.errors import Forbidden, Unauthenticated
from shared.http.token_keys import KeysUnavailable
from shared.http.tokens import Principal, TokenExpired, TokenInvalid, TokenRevoked, TokenVerifier

UNDECLARED = "undeclared"

bearer = HTTPBearer(
    auto_error=False,
    bearerFormat="JWT",
    scheme_name="access_token",
    description="An access token, as returned by `POST /v1/sessions`.",
)


class TokenMissing(Unauthenticated):
    """An access token is required."""

    code = "token_missing"


class RoleRequired(Forbidden):
    """Your role does not allow this."""

    code = "role_required"


TOKEN_PROBLEMS = (TokenInvalid, TokenExpired, TokenRevoked, KeysUnavailable)
"""The problems of a route that verifies an access token, even if it is optional."""
STAFF = frozenset({"support", "admin"})
"""The roles of the people who run the shop."""


async def public() -> None:
    """Mark a route as public: `dependencies=[Depends(public)]`."""


async def current_caller(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
) -> Principal:
    """Return the caller that the access token names. Raises: TokenMissing, or one of TOKEN_PROBLEMS."""
    if credentials is None:
        raise TokenMissing
    verifier: TokenVerifier = request.app.state.token_verifier
    caller = await verifier.verify(credentials.credentials)
    bind_contextvars(caller_id=str(caller.user_id))
    return caller


Caller = Annotated[Principal, Depends(current_caller)]


async def calling_service(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
) -> str:
    """Return the name of the service whose token an internal route was called with.

    `app.state.service_tokens` has the tokens by name. Raises: TokenMissing, TokenInvalid.
    """
    if credentials is None:
        raise TokenMissing
    tokens: Mapping[str, str] = request.app.state.service_tokens
    for name, token in tokens.items():
        if secrets.compare_digest(credentials.credentials.encode(), token.encode()):
            return name
    raise TokenInvalid


@dataclass(frozen=True)
class RoleGuard:
    """A dependency that requires one of `roles`."""

    roles: frozenset[str]

    async def __call__(self, caller: Caller) -> Principal:
        if self.roles.isdisjoint(caller.roles):
            raise RoleRequired(extra={"roles": sorted(self.roles)})
        return caller


def require_role(*roles: str) -> RoleGuard:
    """Return a dependency that admits callers who have at least one of the roles."""
    return RoleGuard(frozenset(roles))


def is_staff(caller: Principal) -> bool:
    """Return whether the caller has one of the roles of staff."""
    return not STAFF.isdisjoint(caller.roles)


staff_only = require_role(*STAFF)
admin_only = require_role("admin")


def access_matrix(app: FastAPI) -> dict[str, str]:
    """Map each route, such as `GET /v1/orders`, to who may call it.

    The values are "public", "service", "caller", roles joined as "admin|support", or UNDECLARED, which a test rejects.
    """
    documentation = {app.openapi_url, app.docs_url, app.redoc_url, app.swagger_ui_oauth2_redirect_url}
    matrix = {}
    for route in iter_route_contexts(app.routes):
        dependant = getattr(route, "dependant", None)
        access = _access_of(dependant) if dependant else "public" if route.path in documentation else UNDECLARED
        for method in sorted(route.methods or {"*"}):
            matrix[f"{method} {route.path}"] = access
    return matrix


def _access_of(dependant: Dependant) -> str:
    calls = [each.call for each in dependants_of(dependant)]
    roles = ["|".join(sorted(call.roles)) for call in calls if isinstance(call, RoleGuard)]
    if roles:
        return " and ".join(sorted(set(roles)))
    if calling_service in calls:
        return "service"
    if current_caller in calls:
        return "caller"
    return "public" if public in calls else UNDECLARED


def dependants_of(dependant: Dependant) -> Iterator[Dependant]:
    """Yield every dependency of a route, including indirect ones."""
    for dependency in dependant.dependencies:
        yield dependency
        yield from dependants_of(dependency)

"""Access control: each route declares who may call it, and for whose objects. No other code decides that."""

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import Depends, FastAPI, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import iter_route_contexts
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from structlog.contextvars import bind_contextvars

from shared.errors import Forbidden, Problem, Unauthenticated
from shared.http.token_keys import KeysUnavailable
from shared.http.tokens import Principal, TokenExpired, TokenInvalid, TokenRevoked, TokenVerifier

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

ANONYMOUS = "anonymous"
"""The role of a caller without an access token."""
CUSTOMER = "customer"
"""The role that every signed-in user has, whatever the token lists."""
SERVICE = "service"
"""The role of another service, which calls with the token of a service."""
ROLES = (ANONYMOUS, CUSTOMER, "support", "admin", SERVICE)
"""The roles of the access matrix."""

NOBODY: frozenset[str] = frozenset()
ADMINS = frozenset({"admin"})
STAFF = frozenset({"support", "admin"})
"""The roles of the people who run the shop."""
SIGNED_IN = STAFF | {CUSTOMER}
EVERYONE = SIGNED_IN | {ANONYMOUS}

ANY, OWN, OTHERS = "", "own", "another's"
"""Kinds of objects: of a route that makes no difference; the caller's; those of another user."""


@dataclass(frozen=True)
class Rule:
    """The roles that may use one kind of objects on a route, and the problem that the other roles get."""

    objects: str
    roles: frozenset[str]
    denial: type[Problem] = RoleRequired


@dataclass(frozen=True)
class Permit:
    """A caller whom a route has admitted, and the rules of that route for single objects."""

    caller: Principal | None
    rules: tuple[Rule, ...]

    @property
    def user_id(self) -> UUID:
        """The caller's user id. Raises: TokenMissing."""
        if self.caller is None:
            raise TokenMissing
        return self.caller.user_id

    @property
    def is_staff(self) -> bool:
        """Return whether the caller has one of the roles of staff."""
        return not STAFF.isdisjoint(_roles_of(self.caller))

    def owns(self, owner_id: UUID) -> bool:
        """Return whether the caller is the owner."""
        return self.caller is not None and self.caller.user_id == owner_id

    def check_owner(self, owner_id: UUID) -> None:
        """Check that the caller may use an object of this owner, as its row has it. Raises: the rule's denial."""
        self.check(OWN if self.owns(owner_id) else OTHERS)

    def check(self, objects: str) -> None:
        """Check that the caller may use this kind of objects. Raises: the rule's denial."""
        rule = {rule.objects: rule for rule in self.rules}[objects]
        if rule.roles.isdisjoint(_roles_of(self.caller)):
            raise _denied(rule.denial, roles=rule.roles)


@dataclass(frozen=True)
class Access:
    """The rules of a route, one for each kind of objects.

    It is a dependency: FastAPI calls it before the route validates its input. It rejects the roles that may use no
    object at all, and returns a Permit, with which the route checks each object in the transaction that uses it.
    """

    rules: tuple[Rule, ...]

    @property
    def admitted(self) -> frozenset[str]:
        """The roles that may use some object."""
        return frozenset().union(*(rule.roles for rule in self.rules))

    @property
    def problems(self) -> tuple[type[Problem], ...]:
        """The problems with which the route denies access, apart from those of tokens."""
        denials = [rule.denial for rule in self.rules if not self.admitted <= rule.roles]
        missing = [] if ANONYMOUS in self.admitted else [TokenMissing]
        refused = [] if self.admitted >= SIGNED_IN else [RoleRequired]
        return tuple(dict.fromkeys([*missing, *refused, *denials]))

    def denial(self, role: str, rule: Rule) -> type[Problem] | None:
        """Return the problem that a caller with this role gets for the rule's objects; None if it is allowed."""
        if role in rule.roles:
            return None
        if role == SERVICE:
            return TokenInvalid
        if role not in self.admitted:
            return TokenMissing if role == ANONYMOUS else RoleRequired
        return rule.denial


class PublicAccess(Access):
    """The access of a route that anyone may call, and that reads no token."""

    async def __call__(self) -> None:
        """Accept every request."""


class ServiceAccess(Access):
    """The access of an internal route, which other services call with a token of their own.

    It rejects every user's access token. The gateway does not route to it.
    """

    async def __call__(
        self, request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
    ) -> str:
        """Return the name of the service whose token the route was called with.

        `app.state.service_tokens` has the tokens by name. Raises: TokenMissing, TokenInvalid.
        """
        if credentials is None:
            raise TokenMissing
        tokens: Mapping[str, str] = request.app.state.service_tokens
        for name, token in tokens.items():
            if secrets.compare_digest(credentials.credentials.encode(), token.encode()):
                return name
        raise TokenInvalid

    @property
    def problems(self) -> tuple[type[Problem], ...]:
        """The problems with which the route denies access."""
        return (TokenMissing, TokenInvalid)

    def denial(self, role: str, rule: Rule) -> type[Problem] | None:
        """Return the problem that a caller with this role gets: None for another service."""
        if role in rule.roles:
            return None
        return TokenMissing if role == ANONYMOUS else TokenInvalid


class OptionalAccess(Access):
    """The access of a route that anyone may call, with more objects for some roles.

    No token is required, but one that is sent must be valid.
    """

    async def __call__(
        self, request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
    ) -> Permit:
        """Return the caller's permit. Raises: one of TOKEN_PROBLEMS."""
        caller = None if credentials is None else await current_caller(request, credentials)
        return Permit(caller, self.rules)


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
"""The caller of a route for signed-in users that only has objects of the caller, and none in its path."""


class SignedInAccess(Access):
    """The access of a route that requires an access token."""

    async def __call__(self, caller: Caller) -> Permit:
        """Return the caller's permit. Raises: RoleRequired."""
        if self.admitted.isdisjoint(_roles_of(caller)):
            raise _denied(RoleRequired, roles=self.admitted)
        return Permit(caller, self.rules)


def by_role(roles: frozenset[str]) -> SignedInAccess:
    """Return the access of a route for these roles, whoever owns the objects."""
    return SignedInAccess((Rule(ANY, roles),))


def by_owner(
    *,
    own: frozenset[str],
    others: frozenset[str],
    own_denial: type[Problem] = RoleRequired,
    others_denial: type[Problem] = RoleRequired,
) -> SignedInAccess:
    """Return the access of a route on objects with an owner: the roles for the caller's own, and for those of others.

    A denial that is a NotFound hides that the object exists.
    """
    return SignedInAccess((Rule(OWN, own, own_denial), Rule(OTHERS, others, others_denial)))


public = PublicAccess((Rule(ANY, EVERYONE | {SERVICE}),))
signed_in = by_role(SIGNED_IN)
staff_only = by_role(STAFF)
admin_only = by_role(ADMINS)
calling_service = ServiceAccess((Rule(ANY, frozenset({SERVICE})),))


def declared_access(app: FastAPI) -> dict[str, Access | None]:
    """Map each route, such as `GET /v1/orders`, to its access; None if it declares none, which a test rejects."""
    documentation = {app.openapi_url, app.docs_url, app.redoc_url, app.swagger_ui_oauth2_redirect_url}
    declared: dict[str, Access | None] = {}
    for route in iter_route_contexts(app.routes):
        dependant = getattr(route, "dependant", None)
        access = access_of(dependant) if dependant else public if route.path in documentation else None
        for method in sorted(route.methods or {"*"}):
            declared[f"{method} {route.path}"] = access
    return declared


def access_of(dependant: Dependant) -> Access | None:
    """Return the access that a route declares. Raises: ValueError if it declares two, of which each would admit."""
    calls: list[object] = [each.call for each in dependants_of(dependant)]
    declared = {call for call in calls if isinstance(call, Access)}
    if len(declared) > 1:
        raise ValueError(f"{dependant.path} declares {len(declared)} kinds of access")
    if declared:
        return declared.pop()
    return signed_in if current_caller in calls else None


def dependants_of(dependant: Dependant) -> Iterator[Dependant]:
    """Yield every dependency of a route, including indirect ones."""
    for dependency in dependant.dependencies:
        yield dependency
        yield from dependants_of(dependency)


def _roles_of(caller: Principal | None) -> frozenset[str]:
    return frozenset({ANONYMOUS}) if caller is None else caller.roles | {CUSTOMER}


def _denied(denial: type[Problem], *, roles: frozenset[str]) -> Problem:
    return denial(extra={"roles": sorted(roles)}) if denial is RoleRequired else denial()

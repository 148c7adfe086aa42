"""The operator of a request, and the dependency that every route declares.

A deployed console takes an admin's access token from the browser's cookies or, for programs, from the Authorization
header. The console of `make run` signs in as the local admin itself.
"""

from dataclasses import dataclass
from typing import Annotated, Protocol

from fastapi import Depends, Request
from structlog.contextvars import bind_contextvars

from shared.errors import Forbidden, Unauthenticated


class SignInRequired(Unauthenticated):
    """Sign in as an admin."""

    code = "sign_in_required"


class NotAnAdmin(Forbidden):
    """Only admins may use the console."""

    code = "not_an_admin"


@dataclass(frozen=True)
class Operator:
    """The admin who operates the console."""

    user_id: str
    token: str
    """The access token, which requests to the services carry: they record who did what."""
    is_local: bool = False
    """Whether the console has signed in itself, as under `make run`."""


class Access(Protocol):
    """Finds the operator of a request."""

    async def operator_of(self, request: Request) -> Operator:
        """Return the operator. Raises: SignInRequired, NotAnAdmin, ServiceUnreachable."""

    async def close(self) -> None:
        """Stop what runs in the background."""


async def _operator(request: Request) -> Operator:
    access: Access = request.app.state.access
    operator = await access.operator_of(request)
    bind_contextvars(caller_id=operator.user_id)
    return operator


OperatorDep = Annotated[Operator, Depends(_operator)]

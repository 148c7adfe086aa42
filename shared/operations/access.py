"""What the admin routes ask of the application and of their caller."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from shared.http.auth import RoleRequired, TokenMissing, require_role
from shared.http.dependencies import SessionsDep
from shared.http.tokens import KeysUnavailable, Principal, TokenExpired, TokenInvalid
from shared.operations.dead_letters import DeadLetterOperations
from shared.operations.sending import Sending

ADMIN_PROBLEMS = (TokenMissing, TokenInvalid, TokenExpired, KeysUnavailable, RoleRequired)
MAX_RESPONSE_SECONDS = 20.0
"""Less than the gateway waits."""

AdminCaller = Annotated[Principal, Depends(require_role("admin"))]


@dataclass(frozen=True)
class Operations:
    """One service's, as `app.state.operations` holds them."""

    dead_letters: DeadLetterOperations
    sending: Sending


async def _operations(request: Request, _sessions: SessionsDep) -> Operations:
    # Their sessions are the service's own: asked for here, so that the routes are seen to need the database.
    operations: Operations = request.app.state.operations
    return operations


OperationsDep = Annotated[Operations, Depends(_operations)]

"""Dependencies of the admin routes: the caller must be an admin, and the application holds the operations."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from shared.http.auth import Permit, admin_only
from shared.http.dependencies import SessionsDep
from shared.operations.dead_letters import DeadLetterOperations
from shared.operations.positions import PositionOperations
from shared.operations.sending import Sending

MAX_RESPONSE_SECONDS = 20.0
"""Upper bound of the time for one response: below the gateway's time-out."""

AdminCaller = Annotated[Permit, Depends(admin_only)]


@dataclass(frozen=True)
class Operations:
    """One service's operations, held by `app.state.operations`."""

    dead_letters: DeadLetterOperations
    positions: PositionOperations
    sending: Sending


async def _operations(request: Request, _sessions: SessionsDep) -> Operations:
    # The operations use the service's sessions. Depending on them here declares that the routes need the database.
    operations: Operations = request.app.state.operations
    return operations


OperationsDep = Annotated[Operations, Depends(_operations)]

"""Dependencies of the operators' routes: the caller must be staff, and the application holds the operations."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from shared.database import Sessions
from shared.http.auth import Permit, admin_only, staff_only
from shared.http.dependencies import SessionsDep
from shared.messaging.consumer.subscription import Subscription
from shared.operations.actions import SHARED_SOURCES, ActionSource
from shared.operations.dead_letters import DeadLetterOperations
from shared.operations.journeys import JourneyOperations, ReadOwnRecords, no_records
from shared.operations.positions import PositionOperations
from shared.operations.sending import Sending

MAX_RESPONSE_SECONDS = 20.0
"""Upper bound of the time for one response: below the gateway's time-out."""

AdminCaller = Annotated[Permit, Depends(admin_only)]
StaffCaller = Annotated[Permit, Depends(staff_only)]
"""Support or an admin, who may look at everything that is stuck; only admins change it."""


@dataclass(frozen=True)
class Operations:
    """One service's operations, held by `app.state.operations`."""

    service: str
    dead_letters: DeadLetterOperations
    positions: PositionOperations
    sending: Sending
    journeys: JourneyOperations
    action_sources: Sequence[ActionSource]


@dataclass(frozen=True)
class ServiceRecords:
    """The functions that read a service's own tables: for the journey of an order, and for what operators did."""

    journey: ReadOwnRecords = no_records
    action_sources: Sequence[ActionSource] = ()


NO_RECORDS = ServiceRecords()


def operations_of(
    service: str,
    sessions: Sessions,
    subscriptions: Mapping[str, Subscription],
    *,
    sending: Sending,
    records: ServiceRecords,
    check_kafka: Callable[[], Awaitable[None]],
    problem_of: Callable[[str], str | None],
) -> Operations:
    """Return the operations of a service; `subscriptions` holds its handlers, by consumer."""
    return Operations(
        service=service,
        dead_letters=DeadLetterOperations(sessions, subscriptions),
        positions=PositionOperations(sessions, subscriptions),
        sending=sending,
        journeys=JourneyOperations(
            service, sessions, subscriptions, records.journey, check_kafka=check_kafka, problem_of=problem_of
        ),
        action_sources=(*SHARED_SOURCES, *records.action_sources),
    )


async def _operations(request: Request, _sessions: SessionsDep) -> Operations:
    # The operations use the service's sessions. Depending on them here declares that the routes need the database.
    operations: Operations = request.app.state.operations
    return operations


OperationsDep = Annotated[Operations, Depends(_operations)]

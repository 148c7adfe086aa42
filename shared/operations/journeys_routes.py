"""One service's part of an order's journey over HTTP, for support and admins. The orders service puts them together."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from shared.operations.dependencies import OperationsDep, StaffCaller
from shared.operations.journey_schemas import JourneyPart
from shared.operations.journeys import Subject

router = APIRouter(prefix="/journeys")


@router.get("/orders/{order_id}", summary="Read this service's part of an order's journey")
async def read_part(
    order_id: UUID,
    *,
    _caller: StaffCaller,
    operations: OperationsDep,
    user_id: Annotated[
        UUID,
        Query(
            description="The order's customer, whose credit and mails belong to the journey.",
            examples=["0199a6e2-7c1e-7b7c-8a55-0d6b8f4f2c11"],
        ),
    ],
) -> JourneyPart:
    """Return what this service knows of an order: its own rows, events, dead letters, and its consumers' state.

    An order that the service has never heard of has no entries. `GET /v1/orders/{reference}/journey` puts the parts of
    all services together.
    """
    return await operations.journeys.part(Subject(order_id, user_id))

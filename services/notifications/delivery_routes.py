"""Deliveries over HTTP, for admins: list, read, resend."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from services.notifications import delivery_operations
from services.notifications.delivery_operations import (
    DeliveryFilter,
    DeliveryNotFound,
    DeliveryNotResendable,
    NoDeliverySelected,
    ResendSelection,
)
from services.notifications.schemas import (
    DeliveryDetailView,
    DeliverySummaryView,
    ResendDeliveriesRequest,
    ResentDeliveriesView,
)
from services.notifications.statuses import Channel, DeliveryStatus
from shared.http.dependencies import SessionsDep
from shared.http.idempotency import IdempotencyKey, run_idempotently
from shared.http.pagination import Page, PageParams, page_of
from shared.http.problems import responses
from shared.http.responses import is_repeat, json_response
from shared.http.route_limits import OPERATIONS
from shared.http.spellings import Instant
from shared.operations.dependencies import AdminCaller

router = APIRouter(
    prefix="/v1/operations/notifications/deliveries",
    tags=["operations"],
    # As all routes under /v1/operations.
    generate_unique_id_function=lambda route: f"{route.name}_of_notifications",
)

Error = Annotated[str | None, Query(max_length=500, pattern=r"^[^\x00]*$", description="Code of the last error.")]
CreatedBefore = Annotated[Instant | None, Query(description="Only notifications created before this time.")]


@router.get("", summary="List deliveries")
async def list_deliveries(
    request: Request,
    *,
    _caller: AdminCaller,
    sessions: SessionsDep,
    params: PageParams,
    status: DeliveryStatus = "failed",
    channel: Channel | None = None,
    user_id: UUID | None = None,
    error: Error = None,
    created_before: CreatedBefore = None,
) -> Page[DeliverySummaryView]:
    """List the deliveries that have a status, oldest first."""
    wanted = DeliveryFilter(status=status, channel=channel, user_id=user_id, error=error, created_before=created_before)
    query = delivery_operations.deliveries_oldest_first(wanted)
    async with sessions() as session:
        return await page_of(session, query, request=request, params=params, map=DeliverySummaryView.of_columns)


@router.get("/{delivery_id}", summary="Read a delivery", responses=responses(DeliveryNotFound))
async def read_delivery(delivery_id: UUID, *, _caller: AdminCaller, sessions: SessionsDep) -> DeliveryDetailView:
    """Return a delivery with its notification's data, and the actions taken on it."""
    async with sessions() as session:
        return DeliveryDetailView.model_validate(await delivery_operations.show_delivery(session, delivery_id))


@router.post(
    "/resends",
    response_model=ResentDeliveriesView,
    summary="Resend deliveries",
    dependencies=[Depends(OPERATIONS)],
    responses=responses(NoDeliverySelected, DeliveryNotFound, DeliveryNotResendable),
)
async def resend_deliveries(
    body: ResendDeliveriesRequest,
    *,
    request: Request,
    caller: AdminCaller,
    sessions: SessionsDep,
    key: IdempotencyKey = None,
) -> Response:
    """Make deliveries that have failed, or wait for a retry, due now, with the whole time for their retries.

    Repeat a request with a filter, with another Idempotency-Key, while `deliveries` equals its limit.
    """
    actor, view = str(caller.user_id), ResentDeliveriesView(dry_run=body.dry_run, deliveries=0)

    async def resend(session: AsyncSession) -> Response:
        nonlocal view
        count = await delivery_operations.resend_at_once(
            session, _selection_of(body), actor=actor, note=body.note, dry_run=body.dry_run
        )
        view = ResentDeliveriesView(dry_run=body.dry_run, deliveries=count)
        return json_response(view)

    response = await run_idempotently(
        sessions, request=request, caller_id=caller.user_id, key=key, body=body, action=resend
    )
    if not (body.dry_run or is_repeat(response)):
        delivery_operations.log_resent(view.deliveries, actor=actor)
    return response


def _selection_of(body: ResendDeliveriesRequest) -> ResendSelection:
    wanted = None
    if body.status is not None:
        wanted = DeliveryFilter(
            status=body.status,
            channel=body.channel,
            user_id=body.user_id,
            error=body.error,
            created_before=body.created_before,
        )
    return ResendSelection(ids=body.ids, wanted=wanted, limit=body.limit, force=body.force)

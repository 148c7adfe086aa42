"""Outbox, resends and republications over HTTP, for admins."""

import time
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database import Sessions
from shared.errors import NotFound
from shared.http.dependencies import SessionsDep
from shared.http.idempotency import IdempotencyKey, run_idempotently
from shared.http.problems import responses
from shared.http.responses import json_response
from shared.http.route_limits import OPERATIONS
from shared.messaging.outbox.resend import count_events, outbox_status, plan_resend
from shared.operations import runs
from shared.operations.dependencies import MAX_RESPONSE_SECONDS, AdminCaller, OperationsDep
from shared.operations.schemas import (
    OperationView,
    OutboxStatusView,
    RepublicationRequest,
    ResendRequest,
    ResendView,
)
from shared.operations.sending import REPUBLICATION, RESEND, NotRepublished, begin_resend, enqueue_operation

outbox_router = APIRouter(prefix="/outbox")
republication_router = APIRouter(prefix="/republications")
"""Only for a service that republishes aggregates."""


class OperationNotFound(NotFound):
    """There is no such operation."""

    code = "operation_not_found"


@outbox_router.get("", summary="Read the state of the outbox")
async def read_outbox(*, _caller: AdminCaller, sessions: SessionsDep) -> OutboxStatusView:
    """Return how many events wait and for how long, how many can be resent, and which relay leads."""
    async with sessions() as session:
        status = await outbox_status(session)
    return OutboxStatusView.of(status)


@outbox_router.post(
    "/resends",
    status_code=202,
    response_model=ResendView,
    summary="Resend events",
    dependencies=[Depends(OPERATIONS)],
    responses={
        200: {"description": "The dry run's result; nothing is sent.", "model": ResendView},
    },
)
async def resend_events(
    body: ResendRequest, *, request: Request, caller: AdminCaller, sessions: SessionsDep, key: IdempotencyKey = None
) -> Response:
    """Publish sent events again with the same ids and sequences, after a broker has lost data.

    Consumers that have applied an event recognise a duplicate and ignore it.
    """

    async def begin(session: AsyncSession) -> Response:
        plan = await plan_resend(session, since=body.since, topic=body.topic, key=body.key, limit=body.limit)
        if body.dry_run:
            deadline = time.monotonic() + MAX_RESPONSE_SECONDS
            events, is_complete = await count_events(session, plan, deadline=deadline)
            return json_response(ResendView(events=events, is_complete=is_complete, operation=None))
        operation = await begin_resend(session, plan, actor=str(caller.user_id))
        await enqueue_operation(session, operation)
        report = ResendView(events=None, is_complete=None, operation=OperationView.of(operation))
        return json_response(report, status=202, headers=_location_of(request, operation.id))

    return await run_idempotently(sessions, request=request, caller_id=caller.user_id, key=key, body=body, action=begin)


@outbox_router.get("/resends/{operation_id}", summary="Read a resend", responses=responses(OperationNotFound))
async def read_resend(operation_id: UUID, *, _caller: AdminCaller, sessions: SessionsDep) -> OperationView:
    """Return a resend and its progress."""
    return await _found(sessions, operation_id, kind=RESEND)


@republication_router.post(
    "",
    status_code=202,
    response_model=OperationView,
    summary="Republish current state",
    dependencies=[Depends(OPERATIONS)],
    responses=responses(NotRepublished),
)
async def republish(
    body: RepublicationRequest,
    *,
    request: Request,
    caller: AdminCaller,
    sessions: SessionsDep,
    operations: OperationsDep,
    key: IdempotencyKey = None,
) -> Response:
    """Publish the current state of all aggregates, for consumers that are new or have lost their data.

    The service keeps serving requests meanwhile.
    """

    async def begin(session: AsyncSession) -> Response:
        operation = await operations.sending.begin_republication(
            session, types=body.types, since=body.since, actor=str(caller.user_id)
        )
        await enqueue_operation(session, operation)
        return json_response(OperationView.of(operation), status=202, headers=_location_of(request, operation.id))

    return await run_idempotently(sessions, request=request, caller_id=caller.user_id, key=key, body=body, action=begin)


@republication_router.get(
    "/{operation_id}",
    summary="Read a republication",
    responses=responses(OperationNotFound),
)
async def read_republication(operation_id: UUID, *, _caller: AdminCaller, sessions: SessionsDep) -> OperationView:
    """Return a republication and its progress."""
    return await _found(sessions, operation_id, kind=REPUBLICATION)


async def _found(sessions: Sessions, operation_id: UUID, *, kind: str) -> OperationView:
    async with sessions() as session:
        operation = await runs.find(session, operation_id)
    if operation is None or operation.kind != kind:
        raise OperationNotFound
    return OperationView.of(operation)


def _location_of(request: Request, operation_id: UUID) -> dict[str, str]:
    return {"Location": f"{request.url.path}/{operation_id}"}

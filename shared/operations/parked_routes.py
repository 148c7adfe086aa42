"""Parked events over HTTP, for admins: looked at, applied again, discarded."""

import time
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request

from shared.http.dependencies import SessionsDep
from shared.http.pagination import CursorInvalid, Page, PageParams, page_of
from shared.http.problems import responses
from shared.messaging.dead_letter import ParkReason
from shared.messaging.parked_events import ParkedFilter, show_parked, waiting_events
from shared.operations.access import ADMIN_REFUSALS, LONGEST_ANSWER_SECONDS, AdminCaller, OperationsDep
from shared.operations.parked import KeyOutcome, NothingSelected, ParkedEventNotFound
from shared.operations.schemas import (
    MAX_ID,
    DiscardReport,
    DiscardRequest,
    KeyView,
    ParkedEventDetails,
    ParkedEventView,
    ReplayReport,
    ReplayRequest,
)

router = APIRouter(prefix="/parked-events")

FilterText = Annotated[str | None, Query(max_length=500, pattern=r"^[^\x00]*$")]


@router.get("", summary="List parked events", responses=responses(CursorInvalid, *ADMIN_REFUSALS))
async def list_parked_events(
    request: Request,
    *,
    _caller: AdminCaller,
    sessions: SessionsDep,
    params: PageParams,
    consumer: FilterText = None,
    key: FilterText = None,
    type_: Annotated[FilterText, Query(alias="type")] = None,
    parked_for: Annotated[ParkReason | None, Query(description="The reason for which it was parked.")] = None,
) -> Page[ParkedEventView]:
    """Those that wait, in the order in which they were parked."""
    query = waiting_events(ParkedFilter(consumer=consumer, key=key, type=type_, reason=parked_for))
    async with sessions() as session:
        return await page_of(session, query, request=request, params=params, map=ParkedEventView.of_columns)


@router.get("/{parked_id}", summary="Read a parked event", responses=responses(ParkedEventNotFound, *ADMIN_REFUSALS))
async def read_parked_event(
    parked_id: Annotated[int, Path(ge=1, le=MAX_ID, examples=[17])], *, _caller: AdminCaller, sessions: SessionsDep
) -> ParkedEventDetails:
    """With its payload, and what was done about it; resolved ones too."""
    async with sessions() as session:
        parked = await show_parked(session, parked_id)
    if parked is None:
        raise ParkedEventNotFound
    return ParkedEventDetails.of(parked)


@router.post("/replays", summary="Apply parked events again", responses=responses(NothingSelected, *ADMIN_REFUSALS))
async def replay_parked_events(body: ReplayRequest, *, caller: AdminCaller, operations: OperationsDep) -> ReplayReport:
    """Key by key, each in order and up to its first failure. Ends after 20 s: repeat it while `keys` is not empty.

    A dry run changes nothing.
    """
    if body.as_filter.is_empty and not body.all:
        raise NothingSelected("Name a filter, or all.")
    deadline = time.monotonic() + LONGEST_ANSWER_SECONDS
    keys = await operations.parked.plan_replay(body.as_filter, limit=body.limit)
    if body.dry_run:
        outcomes = [KeyOutcome(key, 0) for key in keys]
    else:
        replay = operations.parked.replay(keys, actor=str(caller.user_id), deadline=deadline)
        outcomes = [outcome async for outcome in replay]
    applied = sum(outcome.applied for outcome in outcomes)
    return ReplayReport(dry_run=body.dry_run, applied=applied, keys=[KeyView.of(outcome) for outcome in outcomes])


@router.post(
    "/discards",
    summary="Give parked events up",
    responses=responses(NothingSelected, ParkedEventNotFound, *ADMIN_REFUSALS),
)
async def discard_parked_events(
    body: DiscardRequest, *, caller: AdminCaller, operations: OperationsDep
) -> DiscardReport:
    """For good, with a reason. What only stood behind them is applied at once."""
    if bool(body.ids) != body.as_filter.is_empty:
        raise NothingSelected("Name either ids or a filter.")
    parked = operations.parked
    events = await parked.chosen(body.ids) if body.ids else await parked.find(body.as_filter, limit=body.limit)
    drained = 0
    if not body.dry_run:
        ids = [event.id for event in events]
        done = await parked.discard(ids, actor=str(caller.user_id), reason=body.reason)
        events, drained = done.events, done.drained
    views = [ParkedEventView.model_validate(event) for event in events]
    return DiscardReport(dry_run=body.dry_run, events=views, drained=drained)

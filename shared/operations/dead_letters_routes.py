"""Dead letters over HTTP, for admins: list, read, replay, discard."""

import time
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request

from shared.http.dependencies import SessionsDep
from shared.http.pagination import Page, PageParams, page_of
from shared.http.problems import responses
from shared.http.route_limits import OPERATIONS
from shared.messaging.dead_letters.queries import DeadLetterFilter, unresolved_dead_letters
from shared.messaging.dead_letters.reason import DeadLetterReason
from shared.operations.dead_letters import DeadLetterNotFound, Discarded, KeyOutcome, NothingSelected
from shared.operations.dependencies import MAX_RESPONSE_SECONDS, AdminCaller, OperationsDep
from shared.operations.replay import KeyReplay
from shared.operations.schemas import (
    MAX_ID,
    DeadLetterDetailView,
    DeadLetterView,
    DiscardRequest,
    DiscardView,
    ReplayRequest,
    ReplayView,
)

router = APIRouter(prefix="/dead-letters")

FilterText = Annotated[str | None, Query(max_length=500, pattern=r"^[^\x00]*$")]


@router.get("", summary="List dead letters")
async def list_dead_letters(
    request: Request,
    *,
    _caller: AdminCaller,
    sessions: SessionsDep,
    params: PageParams,
    consumer: FilterText = None,
    key: FilterText = None,
    type_: Annotated[FilterText, Query(alias="type")] = None,
    reason: Annotated[DeadLetterReason | None, Query(description="Reason for which the event was not applied.")] = None,
) -> Page[DeadLetterView]:
    """List the unresolved dead letters, oldest first."""
    query = unresolved_dead_letters(DeadLetterFilter(consumer=consumer, key=key, type=type_, reason=reason))
    async with sessions() as session:
        return await page_of(session, query, request=request, params=params, map=DeadLetterView.of_columns)


@router.get("/{dead_letter_id}", summary="Read a dead letter", responses=responses(DeadLetterNotFound))
async def read_dead_letter(
    dead_letter_id: Annotated[int, Path(ge=1, le=MAX_ID, examples=[17])],
    *,
    _caller: AdminCaller,
    operations: OperationsDep,
) -> DeadLetterDetailView:
    """Return a dead letter, resolved or not, with its payload and the actions taken on it."""
    return DeadLetterDetailView.of(await operations.dead_letters.show(dead_letter_id))


@router.post(
    "/replays",
    summary="Replay dead letters",
    dependencies=[Depends(OPERATIONS)],
    responses=responses(NothingSelected),
)
async def replay_dead_letters(body: ReplayRequest, *, caller: AdminCaller, operations: OperationsDep) -> ReplayView:
    """Apply the selected keys' dead letters again, each key in order and up to its first failure.

    The request ends after about 20 seconds: repeat it while `applied` is above zero. A key that failed is tried again
    by each request. A dead letter that is out of order or foreign, or whose envelope could not be read, is applied only
    if it is selected by its id or reason. A dry run changes nothing.
    """
    deadline = time.monotonic() + MAX_RESPONSE_SECONDS
    dead_letters = operations.dead_letters
    keys = await dead_letters.select_for_replay(body.as_filter, all_keys=body.all, limit=body.limit)
    if body.dry_run:
        outcomes = [KeyOutcome(key, KeyReplay(0)) for key in keys]
    else:
        replays = dead_letters.replay(keys, wanted=body.as_filter, actor=str(caller.user_id), deadline=deadline)
        outcomes = [outcome async for outcome in replays]
    return ReplayView.of(outcomes, dry_run=body.dry_run)


@router.post(
    "/discards",
    summary="Discard dead letters",
    dependencies=[Depends(OPERATIONS)],
    responses=responses(NothingSelected, DeadLetterNotFound),
)
async def discard_dead_letters(body: DiscardRequest, *, caller: AdminCaller, operations: OperationsDep) -> DiscardView:
    """Discard dead letters permanently, and apply the events that only they blocked."""
    dead_letters = operations.dead_letters
    selected = await dead_letters.select_for_discard(body.as_filter, ids=body.ids, limit=body.limit)
    done = Discarded(selected, drained=0)
    if not body.dry_run:
        done = await dead_letters.discard(selected, actor=str(caller.user_id), note=body.note)
    return DiscardView.of(done, dry_run=body.dry_run)

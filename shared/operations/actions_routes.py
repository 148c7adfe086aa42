"""The record of operators' actions and the blocked keys over HTTP, for support and admins."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from shared.http.dependencies import SessionsDep
from shared.http.pagination import CursorInvalid, Page, PageParams, next_link
from shared.http.problems import responses
from shared.operations.actions import ActionView
from shared.operations.actions import list_actions as page_of_actions
from shared.operations.blocked_keys import BlockedKeysView, list_blocked_keys
from shared.operations.dependencies import OperationsDep, StaffCaller

router = APIRouter()


@router.get("/actions", summary="List what operators did", responses=responses(CursorInvalid))
async def list_actions(
    request: Request, *, _caller: StaffCaller, sessions: SessionsDep, operations: OperationsDep, params: PageParams
) -> Page[ActionView]:
    """Return the actions of operators with who did them, when and why, newest first; those of the last 90 days.

    They are replays and discards of dead letters, resets of positions, retries and discards of jobs, resends and
    republications, and what the service's own operators' commands record. Automatic retries are left out.
    """
    async with sessions() as session:
        sources = operations.action_sources
        actions, cursor = await page_of_actions(session, sources, cursor=params.cursor, limit=params.limit)
    next_link(request, cursor)
    return Page(items=actions, next_cursor=cursor)


@router.get("/blocked-keys", summary="List blocked keys")
async def read_blocked_keys(
    *,
    _caller: StaffCaller,
    sessions: SessionsDep,
    operations: OperationsDep,
    consumer: Annotated[
        str | None,
        Query(max_length=100, pattern=r"^[^\x00]*$", description="Only this consumer.", examples=["orders.users"]),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=100, description="At most this many keys.")] = 100,
) -> BlockedKeysView:
    """Return the keys whose later events queue behind a dead letter, the longest blocked first."""
    async with sessions() as session:
        return await list_blocked_keys(session, service=operations.service, consumer=consumer, limit=limit)

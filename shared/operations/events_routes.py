"""Events over HTTP, for support and admins: look one up by its id, list the newest."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request

from shared.http.dependencies import SessionsDep
from shared.http.pagination import CursorInvalid, Page, PageParams, next_link
from shared.http.problems import responses
from shared.messaging.envelope import MAX_KEY_LENGTH
from shared.operations.dependencies import OperationsDep, StaffCaller
from shared.operations.event_lists import EventFilter
from shared.operations.event_lists import list_events as page_of_events
from shared.operations.events import EventNotFound, EventView, find_event

router = APIRouter(prefix="/events")

Name = Annotated[str | None, Query(max_length=100, pattern=r"^[^\x00]*$")]


@router.get("", summary="List the events that this service has recorded", responses=responses(CursorInvalid))
async def list_events(
    request: Request,
    *,
    _caller: StaffCaller,
    sessions: SessionsDep,
    params: PageParams,
    topic: Annotated[Name, Query(description="Only this topic.", examples=["orders"])] = None,
    key: Annotated[
        str | None, Query(max_length=MAX_KEY_LENGTH, pattern=r"^[^\x00]*$", description="Only this key.")
    ] = None,
    type_: Annotated[Name, Query(alias="type", description="Only this type.", examples=["order.created"])] = None,
) -> Page[EventView]:
    """Return events newest first: those that wait to be sent, then those that were sent within seven days.

    With a filter that rarely matches, a page may have fewer items than its limit, or none, although others follow: go
    on while there is a `next_cursor`.
    """
    wanted = EventFilter(topic=topic, key=key, type=type_)
    async with sessions() as session:
        events, cursor = await page_of_events(session, wanted, cursor=params.cursor, limit=params.limit)
    next_link(request, cursor)
    return Page(items=events, next_cursor=cursor)


@router.get("/{event_id}", summary="Find an event by its id", responses=responses(EventNotFound))
async def read_event(
    event_id: UUID, *, _caller: StaffCaller, sessions: SessionsDep, operations: OperationsDep
) -> EventView:
    """Return an event that this service has recorded, has applied, or could not apply.

    Sent events are kept for seven days, and the ids of applied events for 21 days.
    """
    async with sessions() as session:
        return await find_event(session, event_id, consumers=operations.dead_letters.subscriptions)

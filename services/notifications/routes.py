"""Routes of notifications."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request

from services.notifications import commands, queries
from services.notifications.dependencies import MarkPermit, ReadPermit
from services.notifications.queries import NotificationNotFound
from services.notifications.schemas import (
    MAX_UNREAD_COUNT,
    NotificationSummaryView,
    NotificationView,
    UnreadCountView,
)
from shared.http.auth import Caller
from shared.http.dependencies import SessionsDep
from shared.http.pagination import Page, PageParams, page_of
from shared.http.problems import responses

router = APIRouter(prefix="/v1/notifications", tags=["notifications"])

UnreadOnly = Annotated[bool, Query(alias="unread", description="Only notifications that were not read.")]


@router.get("", summary="List your notifications")
async def list_own_notifications(
    request: Request, sessions: SessionsDep, caller: Caller, params: PageParams, unread_only: UnreadOnly = False
) -> Page[NotificationSummaryView]:
    """Return your notifications, newest first."""
    query = queries.notifications_of(caller.user_id, unread_only=unread_only)
    async with sessions() as session:
        return await page_of(session, query, request=request, params=params, map=NotificationSummaryView.model_validate)


@router.get("/unread-count", summary="Count your unread notifications")
async def count_own_unread_notifications(sessions: SessionsDep, caller: Caller) -> UnreadCountView:
    """Return how many of your notifications are unread. Counting stops at 1,000."""
    async with sessions() as session:
        return UnreadCountView(unread=await queries.unread_count(session, caller.user_id, at_most=MAX_UNREAD_COUNT))


@router.get("/{notification_id}", summary="Read a notification", responses=responses(NotificationNotFound))
async def read_notification(notification_id: UUID, sessions: SessionsDep, permit: ReadPermit) -> NotificationView:
    """Return one of your notifications with its deliveries. Support and admins can read those of all users."""
    async with sessions() as session:
        notification = await queries.notification_with_deliveries(session, notification_id, permit=permit)
        return NotificationView.model_validate(notification)


@router.post(
    "/{notification_id}/read", summary="Mark a notification as read", responses=responses(NotificationNotFound)
)
async def mark_notification_read(
    notification_id: UUID, sessions: SessionsDep, permit: MarkPermit
) -> NotificationSummaryView:
    """Mark one of your notifications as read. Repeatable: the time of the first request is kept."""
    async with sessions.begin() as session:
        notification = await commands.mark_read(session, notification_id=notification_id, permit=permit)
    return NotificationSummaryView.model_validate(notification)

"""HTTP: a user's notifications."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request

from services.notifications import commands, queries
from services.notifications.commands import NotificationNotFound
from services.notifications.dependencies import IsStaff
from services.notifications.schemas import NotificationSummaryView, NotificationView, UnreadCountView
from shared.http.auth import Caller, TokenMissing
from shared.http.dependencies import SessionsDep
from shared.http.pagination import CursorInvalid, Page, PageParams, page_of
from shared.http.problems import responses
from shared.http.tokens import KeysUnavailable, TokenExpired, TokenInvalid

COUNTED_UNREAD = 1000
TOKEN_PROBLEMS = (TokenMissing, TokenInvalid, TokenExpired, KeysUnavailable)

router = APIRouter(prefix="/v1/notifications", tags=["notifications"])

UnreadOnly = Annotated[bool, Query(alias="unread", description="Only what was not read yet.")]


@router.get(
    "",
    operation_id="list_notifications",
    summary="Your notifications, newest first",
    response_model=Page[NotificationSummaryView],
    responses=responses(*TOKEN_PROBLEMS, CursorInvalid),
)
async def list_notifications(
    request: Request, sessions: SessionsDep, caller: Caller, params: PageParams, unread_only: UnreadOnly = False
) -> Page[NotificationSummaryView]:
    """A page of the caller's own notifications. Follow `next_cursor`, or the Link header, for the next one."""
    query = queries.notifications_of(caller.user_id, unread_only=unread_only)
    async with sessions() as session:
        return await page_of(session, query, request=request, params=params, map=NotificationSummaryView.model_validate)


@router.get(
    "/unread-count",
    operation_id="count_unread_notifications",
    summary="How many of your notifications are unread",
    response_model=UnreadCountView,
    responses=responses(*TOKEN_PROBLEMS),
)
async def count_unread_notifications(sessions: SessionsDep, caller: Caller) -> UnreadCountView:
    """For a badge: counting stops at 1000."""
    async with sessions() as session:
        return UnreadCountView(unread=await queries.unread_count(session, caller.user_id, at_most=COUNTED_UNREAD))


@router.get(
    "/{notification_id}",
    operation_id="get_notification",
    summary="One notification and its deliveries",
    response_model=NotificationView,
    responses=responses(*TOKEN_PROBLEMS, NotificationNotFound),
)
async def get_notification(
    notification_id: UUID, sessions: SessionsDep, caller: Caller, is_staff: IsStaff
) -> NotificationView:
    """One of the caller's own; support and admin see everybody's."""
    async with sessions() as session:
        notification = await queries.notification_with_deliveries(session, notification_id)
    if notification is None or (notification.user_id != caller.user_id and not is_staff):
        raise NotificationNotFound
    return NotificationView.model_validate(notification)


@router.post(
    "/{notification_id}/read",
    operation_id="mark_notification_read",
    summary="Mark a notification as read",
    response_model=NotificationSummaryView,
    responses=responses(*TOKEN_PROBLEMS, NotificationNotFound),
)
async def mark_notification_read(
    notification_id: UUID, sessions: SessionsDep, caller: Caller
) -> NotificationSummaryView:
    """Safe to repeat: the time of the first reading stays. Only the user it was sent to can read it."""
    async with sessions.begin() as session:
        notification = await commands.mark_read(session, notification_id=notification_id, user_id=caller.user_id)
    return NotificationSummaryView.model_validate(notification)

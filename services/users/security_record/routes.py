"""Routes of the security record: users read their own entries, admins read all."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request

from services.users.models.security_record import SecurityEventKind
from services.users.security_record.queries import RecordFilter, security_events_newest_first
from services.users.security_record.schemas import OwnSecurityEventView, SecurityEventView
from shared.http.auth import Caller, admin_only
from shared.http.dependencies import SessionsDep
from shared.http.pagination import Page, PageParams, page_of
from shared.http.spellings import Instant

router = APIRouter(prefix="/v1", tags=["security"])


@router.get("/security-events", summary="List security events", dependencies=[Depends(admin_only)])
async def list_security_events(
    request: Request,
    *,
    sessions: SessionsDep,
    params: PageParams,
    user_id: Annotated[UUID | None, Query(description="Only entries about this user.")] = None,
    actor: Annotated[
        str | None,
        Query(
            min_length=1,
            max_length=200,
            pattern=r"^[^\x00]*$",
            description="Only what this user, operator, `system` or `anonymous` did.",
            examples=["system"],
        ),
    ] = None,
    kind: Annotated[SecurityEventKind | None, Query(description="Only entries of this kind.")] = None,
    occurred_after: Annotated[Instant | None, Query(description="Only entries of this time or a later one.")] = None,
    occurred_before: Annotated[Instant | None, Query(description="Only entries before this time.")] = None,
) -> Page[SecurityEventView]:
    """Return sign-ins, changes of accounts and erasures, newest first. For admins.

    Failed sign-ins are kept for 30 days. One to an unknown address has no user.
    """
    wanted = RecordFilter(
        user_id=user_id, actor=actor, kind=kind, occurred_after=occurred_after, occurred_before=occurred_before
    )
    async with sessions() as session:
        query = security_events_newest_first(wanted)
        return await page_of(session, query, request=request, params=params, map=SecurityEventView.model_validate)


@router.get("/users/me/security-events", summary="List your security events")
async def list_own_security_events(
    request: Request, caller: Caller, sessions: SessionsDep, params: PageParams
) -> Page[OwnSecurityEventView]:
    """Return what happened to your account, newest first: sign-ins, changes, and what staff did.

    Failed sign-ins are kept for 30 days.
    """
    async with sessions() as session:
        query = security_events_newest_first(RecordFilter(user_id=caller.user_id))
        return await page_of(session, query, request=request, params=params, map=OwnSecurityEventView.of)

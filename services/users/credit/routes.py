"""Routes of credit."""

from typing import Annotated
from uuid import UUID

import structlog
from fastapi import APIRouter, Query, Request

from services.users.accounts.queries import UserNotFound
from services.users.authentication.dependencies import RECENTLY_AUTHENTICATED, STEP_UP_PROBLEMS
from services.users.credit import commands, queries
from services.users.credit.commands import LimitBelowUse
from services.users.credit.schemas import CreditEntryView, CreditLimit, CreditView, StaffCreditEntryView
from services.users.dependencies import ChangeAccountPermit, ReadAccountPermit
from services.users.security_record.commands import origin_of
from shared.http.auth import Caller
from shared.http.dependencies import SessionsDep
from shared.http.pagination import Page, PageParams, page_of
from shared.http.problems import responses

logger = structlog.get_logger(__name__)
router = APIRouter(prefix="/v1/users", tags=["credit"])

OrderId = Annotated[UUID | None, Query(description="Only the entries of this order.")]


@router.get("/me/credit", summary="Read your own credit", responses=responses(UserNotFound))
async def read_own_credit(caller: Caller, sessions: SessionsDep) -> CreditView:
    """Return your credit limit and how much of it is reserved and used."""
    return await _credit_view(caller.user_id, sessions=sessions)


@router.get(
    "/{user_id}/credit",
    summary="Read a user's credit",
    responses=responses(UserNotFound),
)
async def read_credit(user_id: UUID, permit: ReadAccountPermit, sessions: SessionsDep) -> CreditView:
    """Return a user's credit limit and how much of it is reserved and used. For support and admins."""
    permit.check_owner(user_id)
    return await _credit_view(user_id, sessions=sessions)


@router.get("/me/credit/entries", summary="List the changes of your own credit", responses=responses(UserNotFound))
async def list_own_credit_entries(
    request: Request, caller: Caller, sessions: SessionsDep, params: PageParams, order_id: OrderId = None
) -> Page[CreditEntryView]:
    """Return the ledger of your credit account, newest first: every change of the limit, and by every order."""
    async with sessions() as session:
        await queries.credit_of(session, caller.user_id)
        query = queries.entries_newest_first(caller.user_id, order_id=order_id)
        return await page_of(session, query, request=request, params=params, map=CreditEntryView.model_validate)


@router.get(
    "/{user_id}/credit/entries",
    summary="List the changes of a user's credit",
    responses=responses(UserNotFound),
)
async def list_credit_entries(
    user_id: UUID,
    *,
    request: Request,
    permit: ReadAccountPermit,
    sessions: SessionsDep,
    params: PageParams,
    order_id: OrderId = None,
) -> Page[StaffCreditEntryView]:
    """Return the ledger of a user's credit account, newest first. For support and admins.

    It says who made a change by hand, and why. The sums of all deltas are the account's credit.
    """
    async with sessions() as session:
        permit.check_owner(user_id)
        await queries.credit_of(session, user_id)
        query = queries.entries_newest_first(user_id, order_id=order_id)
        return await page_of(session, query, request=request, params=params, map=StaffCreditEntryView.model_validate)


@router.put(
    "/{user_id}/credit-limit",
    summary="Set a user's credit limit",
    dependencies=[RECENTLY_AUTHENTICATED],
    responses=responses(*STEP_UP_PROBLEMS, UserNotFound, LimitBelowUse),
)
async def set_credit_limit(
    user_id: UUID, *, body: CreditLimit, request: Request, permit: ChangeAccountPermit, sessions: SessionsDep
) -> CreditView:
    """Set the limit, which must cover what is reserved and used already. For admins, but not of their own account."""
    async with sessions.begin() as session:
        permit.check_owner(user_id)
        account = await commands.set_credit_limit(
            session,
            user_id=user_id,
            limit_cents=body.limit_cents,
            actor=permit.user_id,
            origin=origin_of(request),
        )
    logger.info("credit_limit_set", user_id=str(user_id), limit_cents=account.limit_cents, actor=str(permit.user_id))
    return CreditView.model_validate(account)


async def _credit_view(user_id: UUID, *, sessions: SessionsDep) -> CreditView:
    async with sessions() as session:
        return CreditView.model_validate(await queries.credit_of(session, user_id))

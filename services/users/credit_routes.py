"""HTTP of credit: what a user may owe, and how much of it is taken."""

from uuid import UUID

import structlog
from fastapi import APIRouter, Depends

from services.users import queries
from services.users.credit_commands import LimitBelowUse, set_credit_limit
from services.users.dependencies import admin_only, staff_only
from services.users.queries import UserNotFound
from services.users.routes import SIGNED_IN
from services.users.schemas import CreditLimit, CreditView
from shared.http.auth import Caller, RoleRequired
from shared.http.dependencies import SessionsDep
from shared.http.problems import responses

log = structlog.get_logger(__name__)

router = APIRouter(prefix="/v1/users", tags=["credit"])


@router.get(
    "/me/credit",
    operation_id="get_own_credit",
    summary="Read your own credit",
    responses=responses(*SIGNED_IN, UserNotFound),
)
async def get_own_credit(caller: Caller, sessions: SessionsDep) -> CreditView:
    """Your limit, and how much of it is taken."""
    return await _credit_view(caller.user_id, sessions=sessions)


@router.get(
    "/{user_id}/credit",
    operation_id="get_credit",
    summary="Read a user's credit",
    dependencies=[Depends(staff_only)],
    responses=responses(*SIGNED_IN, RoleRequired, UserNotFound),
)
async def get_credit(user_id: UUID, sessions: SessionsDep) -> CreditView:
    """For support and admin."""
    return await _credit_view(user_id, sessions=sessions)


@router.put(
    "/{user_id}/credit-limit",
    operation_id="change_credit_limit",
    summary="Set a user's credit limit",
    dependencies=[Depends(admin_only)],
    responses=responses(*SIGNED_IN, RoleRequired, UserNotFound, LimitBelowUse),
)
async def change_credit_limit(user_id: UUID, body: CreditLimit, sessions: SessionsDep) -> CreditView:
    """For admin. Not below what is reserved and used already."""
    async with sessions.begin() as session:
        account = await set_credit_limit(session, user_id=user_id, limit_cents=body.limit_cents)
    log.info("credit_limit_changed", user_id=str(user_id), limit_cents=account.limit_cents)
    return CreditView.model_validate(account)


async def _credit_view(user_id: UUID, *, sessions: SessionsDep) -> CreditView:
    async with sessions() as session:
        return CreditView.model_validate(await queries.credit_of(session, user_id))

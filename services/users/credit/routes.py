"""Routes of credit."""

from uuid import UUID

import structlog
from fastapi import APIRouter, Depends

from services.users.accounts.queries import UserNotFound
from services.users.authentication.dependencies import RECENTLY_AUTHENTICATED, STEP_UP_PROBLEMS
from services.users.credit import commands, queries
from services.users.credit.commands import LimitBelowUse
from services.users.credit.schemas import CreditLimit, CreditView
from shared.http.auth import Caller, admin_only, staff_only
from shared.http.dependencies import SessionsDep
from shared.http.problems import responses

logger = structlog.get_logger(__name__)
router = APIRouter(prefix="/v1/users", tags=["credit"])


@router.get("/me/credit", summary="Read your own credit", responses=responses(UserNotFound))
async def read_own_credit(caller: Caller, sessions: SessionsDep) -> CreditView:
    """Return your credit limit and how much of it is reserved and used."""
    return await _credit_view(caller.user_id, sessions=sessions)


@router.get(
    "/{user_id}/credit",
    summary="Read a user's credit",
    dependencies=[Depends(staff_only)],
    responses=responses(UserNotFound),
)
async def read_credit(user_id: UUID, sessions: SessionsDep) -> CreditView:
    """Return a user's credit limit and how much of it is reserved and used. For support and admins."""
    return await _credit_view(user_id, sessions=sessions)


@router.put(
    "/{user_id}/credit-limit",
    summary="Set a user's credit limit",
    dependencies=[Depends(admin_only), RECENTLY_AUTHENTICATED],
    responses=responses(*STEP_UP_PROBLEMS, UserNotFound, LimitBelowUse),
)
async def set_credit_limit(user_id: UUID, body: CreditLimit, sessions: SessionsDep) -> CreditView:
    """Set the limit, which must cover what is reserved and used already. For admins."""
    async with sessions.begin() as session:
        account = await commands.set_credit_limit(session, user_id=user_id, limit_cents=body.limit_cents)
    logger.info("credit_limit_set", user_id=str(user_id), limit_cents=account.limit_cents)
    return CreditView.model_validate(account)


async def _credit_view(user_id: UUID, *, sessions: SessionsDep) -> CreditView:
    async with sessions() as session:
        return CreditView.model_validate(await queries.credit_of(session, user_id))

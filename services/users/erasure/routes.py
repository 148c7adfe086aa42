"""Routes of erasures: users ask for their own, admins for others'; anyone who knows a receipt's id can read it."""

from typing import Annotated
from uuid import UUID

import structlog
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from services.users.accounts.queries import UserNotFound
from services.users.administration.commands import Act, LastAdmin
from services.users.authentication.dependencies import RECENTLY_AUTHENTICATED, STEP_UP_PROBLEMS
from services.users.dependencies import ChangeAccountPermit
from services.users.erasure import commands, queries
from services.users.erasure.queries import ErasureNotFound, ErasureStatus, Receipt
from services.users.erasure.schemas import ErasureRequest, ErasureView, ReceiptView
from services.users.models.erasure import Erasure
from services.users.security_record.commands import origin_of
from services.users.sessions.commands import AccountInactive
from shared.http.auth import Caller, admin_only, public
from shared.http.dependencies import SessionsDep
from shared.http.idempotency import IdempotencyKey, run_idempotently
from shared.http.pagination import Page, PageParams, page_of
from shared.http.problems import responses
from shared.http.responses import Documented, json_response
from shared.http.route_limits import OPERATIONS
from shared.operations.dependencies import AdminCaller

logger = structlog.get_logger(__name__)
router = APIRouter(prefix="/v1", tags=["erasure"])

ErasureId = Annotated[UUID, Path(examples=["5f1c7c39-3f43-4b57-a6a1-7b1a0c1de2f4"])]

_ACCEPTED: Documented = {
    202: {
        "description": "The receipt. It can be read without signing in, at the address in `Location`.",
        "headers": {"Location": {"description": "The path of the receipt.", "schema": {"type": "string"}}},
    }
}
_ASKED: Documented = {202: {"description": "The erasure. The services are asked again."}}


@router.post(
    "/users/me/erasure",
    status_code=202,
    response_model=ReceiptView,
    summary="Erase your own account",
    dependencies=[RECENTLY_AUTHENTICATED],
    responses=_ACCEPTED | responses(*STEP_UP_PROBLEMS, UserNotFound, AccountInactive, LastAdmin),
)
async def request_own_erasure(
    *, request: Request, caller: Caller, sessions: SessionsDep, key: IdempotencyKey = None
) -> Response:
    """Erase everything personal of your account, in all services. It cannot be undone.

    You are signed out at once, and orders that were not shipped are cancelled. You get a last mail. Keep the `id`,
    which the mail has too: it shows when the erasure is complete. A suspended account can be erased by admins only.
    """
    act = Act(caller.user_id, origin_of(request))
    receipt: Receipt | None = None

    async def erase(session: AsyncSession) -> Response:
        nonlocal receipt
        found, is_new = await commands.request_own_erasure(session, user_id=caller.user_id, act=act)
        receipt = found if is_new else None
        return _accepted(ReceiptView.of(found))

    response = await run_idempotently(
        sessions, request=request, caller_id=caller.user_id, key=key, body=None, action=erase
    )
    _log_request(receipt, actor=caller.user_id)
    return response


@router.post(
    "/users/{user_id}/erasure",
    status_code=202,
    response_model=ErasureView,
    summary="Erase a user's account",
    dependencies=[RECENTLY_AUTHENTICATED],
    responses=_ACCEPTED | responses(*STEP_UP_PROBLEMS, UserNotFound, LastAdmin),
)
async def request_erasure(
    user_id: UUID,
    *,
    body: ErasureRequest,
    request: Request,
    permit: ChangeAccountPermit,
    sessions: SessionsDep,
    key: IdempotencyKey = None,
) -> Response:
    """Erase everything personal of a user's account, in all services. It cannot be undone. For admins.

    The reason is erased, too, when the erasure is completed. A repeated request gets the same receipt.
    """
    act = Act(permit.user_id, origin_of(request))
    receipt: Receipt | None = None

    async def erase(session: AsyncSession) -> Response:
        nonlocal receipt
        permit.check_owner(user_id)
        found, is_new = await commands.request_erasure(session, user_id=user_id, reason=body.reason, act=act)
        receipt = found if is_new else None
        return _accepted(ErasureView.of(found))

    response = await run_idempotently(
        sessions, request=request, caller_id=permit.user_id, key=key, body=body, action=erase
    )
    _log_request(receipt, actor=permit.user_id)
    return response


@router.get("/erasures", summary="List erasures", dependencies=[Depends(admin_only)])
async def list_erasures(
    request: Request,
    *,
    sessions: SessionsDep,
    params: PageParams,
    status: Annotated[ErasureStatus | None, Query(description="Only erasures with this status.")] = None,
) -> Page[ErasureView]:
    """Return erasures, oldest first: with `status=pending`, those that are stuck come first. For admins."""

    def erasure(found: Erasure) -> Erasure:
        return found

    async with sessions() as session:
        query = queries.erasures_oldest_first(status)
        page = await page_of(session, query, request=request, params=params, map=erasure)
        receipts = await queries.with_acknowledgements(session, page.items)
    return Page[ErasureView](items=[ErasureView.of(receipt) for receipt in receipts], next_cursor=page.next_cursor)


@router.get(
    "/erasures/{erasure_id}",
    summary="Read an erasure",
    dependencies=[Depends(admin_only)],
    responses=responses(ErasureNotFound),
)
async def read_erasure(erasure_id: ErasureId, sessions: SessionsDep) -> ErasureView:
    """Return one erasure, with the services that have not acknowledged it. For admins."""
    async with sessions() as session:
        return ErasureView.of(await queries.receipt_of(session, erasure_id))


@router.get(
    "/erasures/{erasure_id}/receipt",
    summary="Read the receipt of an erasure",
    dependencies=[Depends(public)],
    responses=responses(ErasureNotFound),
)
async def read_receipt(erasure_id: ErasureId, sessions: SessionsDep) -> ReceiptView:
    """Return the receipt of an erasure. Its id is random, and the receipt names nobody."""
    async with sessions() as session:
        return ReceiptView.of(await queries.receipt_of(session, erasure_id))


@router.post(
    "/erasures/{erasure_id}/retry",
    status_code=202,
    response_model=ErasureView,
    summary="Ask for an erasure again",
    dependencies=[Depends(OPERATIONS)],
    responses=_ASKED | responses(ErasureNotFound),
)
async def retry_erasure(
    erasure_id: ErasureId,
    *,
    request: Request,
    caller: AdminCaller,
    sessions: SessionsDep,
    key: IdempotencyKey = None,
) -> Response:
    """Ask the other services now, instead of at the next time; also after the completion, if one was restored since.

    For admins.
    """

    async def retry(session: AsyncSession) -> Response:
        return json_response(ErasureView.of(await commands.retry(session, erasure_id=erasure_id)), status=202)

    response = await run_idempotently(
        sessions, request=request, caller_id=caller.user_id, key=key, body=None, action=retry
    )
    logger.info("erasure_retried", erasure_id=str(erasure_id), actor=str(caller.user_id))
    return response


def _accepted(view: ReceiptView) -> Response:
    return json_response(view, status=202, headers={"Location": f"/v1/erasures/{view.id}/receipt"})


def _log_request(receipt: Receipt | None, *, actor: UUID) -> None:
    """Log a new request after its commit."""
    if receipt is not None:
        erasure = receipt.erasure
        logger.warning("erasure_requested", user_id=str(erasure.user_id), erasure_id=str(erasure.id), actor=str(actor))

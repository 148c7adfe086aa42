"""HTTP of accounts, and of the keys that access tokens are checked with."""

from typing import Annotated, Any
from uuid import UUID

import structlog
from fastapi import APIRouter, Depends, Query, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from services.users import queries
from services.users.commands import EmailTaken, Profile, create_account, update_profile
from services.users.dependencies import AccessTokensDep, PasswordsDep, SettingsDep, staff_only
from services.users.models import UserAccount, UserStatus
from services.users.queries import UserNotFound
from services.users.schemas import Email, ProfileChanges, PublicKeysView, SignUp, UserView
from shared.errors import PreconditionFailed, PreconditionRequired
from shared.http.auth import Caller, RoleRequired, TokenMissing, public
from shared.http.dependencies import SessionsDep
from shared.http.etags import IfMatch, etag_of
from shared.http.idempotency import IdempotencyKey, IdempotencyKeyInUse, IdempotencyKeyReused, run_idempotently
from shared.http.pagination import CursorInvalid, Page, PageParams, page_of
from shared.http.problems import responses
from shared.http.tokens import TokenExpired, TokenInvalid

log = structlog.get_logger(__name__)

SIGNED_IN = (TokenMissing, TokenInvalid, TokenExpired)
_ETAG: dict[str, Any] = {
    "ETag": {"description": "The version, for If-Match.", "schema": {"type": "string"}, "example": '"1"'}
}

router = APIRouter(prefix="/v1/users", tags=["users"])
keys_router = APIRouter(tags=["keys"])


@router.post(
    "",
    status_code=201,
    operation_id="sign_up",
    response_model=UserView,
    summary="Sign up",
    dependencies=[Depends(public)],
    responses={
        201: {
            "description": "The user was made, with a credit account.",
            "headers": {"Location": {"schema": {"type": "string"}}, **_ETAG},
        },
        **responses(EmailTaken, IdempotencyKeyInUse, IdempotencyKeyReused),
    },
)
async def sign_up(
    body: SignUp,
    *,
    request: Request,
    sessions: SessionsDep,
    settings: SettingsDep,
    passwords: PasswordsDep,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Make a user with the role `customer` and the default credit limit.

    The Idempotency-Key is bound to everything in the body but the password.
    """
    password_hash = await passwords.hash(body.password)  # before the transaction: it would hold a connection for long
    created: list[UserAccount] = []

    async def create(session: AsyncSession) -> Response:
        account = await create_account(
            session,
            profile=Profile(body.email, body.name, body.phone, body.locale, body.time_zone),
            password_hash=password_hash,
            credit_limit_cents=settings.default_credit_limit_cents,
            credit_currency=settings.credit_currency,
        )
        created.append(account)
        headers = {"Location": f"/v1/users/{account.id}", "ETag": etag_of(account.version)}
        view = UserView.model_validate(account).model_dump_json()
        return Response(view, status_code=201, headers=headers, media_type="application/json")

    response = await run_idempotently(
        sessions, request=request, caller_id=None, key=idempotency_key, body=body, action=create
    )
    for account in created:
        log.info("user_signed_up", user_id=str(account.id))
    return response


@router.get(
    "",
    operation_id="list_users",
    summary="List users",
    dependencies=[Depends(staff_only)],
    responses=responses(*SIGNED_IN, RoleRequired, CursorInvalid),
)
async def list_users(
    request: Request,
    sessions: SessionsDep,
    params: PageParams,
    email: Annotated[Email | None, Query(description="Exactly this address, whatever the case.")] = None,
    status: Annotated[UserStatus | None, Query(description="Only users with this status.")] = None,
) -> Page[UserView]:
    """Newest first; for support and admin."""
    async with sessions() as session:
        return await page_of(
            session,
            queries.accounts(email=email, status=status),
            request=request,
            params=params,
            map=UserView.model_validate,
        )


@router.get(
    "/me",
    operation_id="get_own_user",
    summary="Read your own account",
    responses={200: {"headers": _ETAG}, **responses(*SIGNED_IN, UserNotFound)},
)
async def get_own_user(caller: Caller, sessions: SessionsDep, response: Response) -> UserView:
    """Your account as it is now."""
    return await _user_view(caller.user_id, sessions=sessions, response=response)


@router.patch(
    "/me",
    operation_id="change_own_user",
    summary="Change your own account",
    responses={
        200: {"headers": _ETAG},
        **responses(*SIGNED_IN, UserNotFound, PreconditionFailed, PreconditionRequired),
    },
)
async def change_own_user(
    body: ProfileChanges, caller: Caller, sessions: SessionsDep, expected_version: IfMatch, response: Response
) -> UserView:
    """Change what is in the body and leave the rest as it is."""
    async with sessions.begin() as session:
        account = await update_profile(
            session,
            user_id=caller.user_id,
            expected_version=expected_version,
            changes=body.model_dump(exclude_unset=True),
        )
    if account.version != expected_version:
        log.info("user_updated", user_id=str(account.id), version=account.version)
    response.headers["ETag"] = etag_of(account.version)
    return UserView.model_validate(account)


@router.get(
    "/{user_id}",
    operation_id="get_user",
    summary="Read a user",
    dependencies=[Depends(staff_only)],
    responses={200: {"headers": _ETAG}, **responses(*SIGNED_IN, RoleRequired, UserNotFound)},
)
async def get_user(user_id: UUID, sessions: SessionsDep, response: Response) -> UserView:
    """For support and admin."""
    return await _user_view(user_id, sessions=sessions, response=response)


@keys_router.get(
    "/.well-known/jwks.json",
    operation_id="get_public_keys",
    summary="Read the public keys",
    dependencies=[Depends(public)],
)
async def get_public_keys(access_tokens: AccessTokensDep, response: Response) -> PublicKeysView:
    """Every key that an access token in use may be signed with, as a JWK Set."""
    response.headers["Cache-Control"] = "public, max-age=300"
    return PublicKeysView.model_validate({"keys": access_tokens.published()})


async def _user_view(user_id: UUID, *, sessions: SessionsDep, response: Response) -> UserView:
    async with sessions() as session:
        account = await queries.account_of(session, user_id)
    response.headers["ETag"] = etag_of(account.version)
    return UserView.model_validate(account)

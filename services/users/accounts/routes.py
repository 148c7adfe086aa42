"""Routes of accounts."""

import structlog
from fastapi import APIRouter, Depends, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from services.users.accounts import commands, queries
from services.users.accounts.commands import EmailTaken, Profile
from services.users.accounts.queries import UserNotFound
from services.users.accounts.schemas import ProfileChanges, SignUp, UserView
from services.users.credentials.dependencies import PasswordsDep
from services.users.dependencies import SettingsDep
from services.users.security_record.commands import origin_of
from shared.http.auth import Caller, public
from shared.http.dependencies import SessionsDep
from shared.http.etags import IfMatch, etag_of
from shared.http.idempotency import IdempotencyKey, run_idempotently
from shared.http.problems import responses
from shared.http.responses import CREATED, VERSIONED, created, is_repeat
from shared.ids import new_id

logger = structlog.get_logger(__name__)
router = APIRouter(prefix="/v1/users", tags=["users"])


@router.post(
    "",
    status_code=201,
    response_model=UserView,
    summary="Sign up",
    dependencies=[Depends(public)],
    response_description="The new user, who has a credit account.",
    responses=CREATED | responses(EmailTaken),
)
async def sign_up(
    body: SignUp,
    *,
    request: Request,
    sessions: SessionsDep,
    settings: SettingsDep,
    passwords: PasswordsDep,
    key: IdempotencyKey = None,
) -> Response:
    """Create a user with the role `customer` and the default credit limit.

    The Idempotency-Key is bound to the whole body except the password.
    """
    password_hash = await passwords.hash(body.password)  # takes 0.1 s: in the transaction it would hold a connection
    user_id = new_id()

    async def create(session: AsyncSession) -> Response:
        account = await commands.create_account(
            session,
            user_id=user_id,
            profile=Profile(body.email, body.name, body.phone, body.locale, body.time_zone),
            password_hash=password_hash,
            credit_limit_cents=settings.default_credit_limit_cents,
            credit_currency=settings.credit_currency,
            origin=origin_of(request),
        )
        return created(UserView.model_validate(account), location=f"/v1/users/{user_id}", version=account.version)

    response = await run_idempotently(sessions, request=request, caller_id=None, key=key, body=body, action=create)
    if not is_repeat(response):
        logger.info("user_signed_up", user_id=str(user_id))
    return response


@router.get("/me", summary="Read your own account", responses=VERSIONED | responses(UserNotFound))
async def read_own_user(caller: Caller, sessions: SessionsDep, response: Response) -> UserView:
    """Return your account."""
    async with sessions() as session:
        account = await queries.account_of(session, caller.user_id)
    response.headers["ETag"] = etag_of(account.version)
    return UserView.model_validate(account)


@router.patch("/me", summary="Update your own account", responses=VERSIONED | responses(UserNotFound))
async def update_own_user(
    body: ProfileChanges,
    *,
    request: Request,
    caller: Caller,
    sessions: SessionsDep,
    version: IfMatch,
    response: Response,
) -> UserView:
    """Change the members in the body; the others keep their values."""
    async with sessions.begin() as session:
        account = await commands.update_profile(
            session,
            user_id=caller.user_id,
            expected_version=version,
            changes=body.model_dump(exclude_unset=True),
            origin=origin_of(request),
        )
    if account.version != version:
        logger.info("user_updated", user_id=str(account.id), version=account.version)
    response.headers["ETag"] = etag_of(account.version)
    return UserView.model_validate(account)

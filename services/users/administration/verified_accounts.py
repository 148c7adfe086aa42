"""The route with which an admin creates an account whose e-mail address counts as verified."""

from datetime import UTC, datetime

import structlog
from fastapi import APIRouter, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from services.users.accounts.commands import EmailTaken, Profile, create_account
from services.users.accounts.schemas import SignUp, UserView
from services.users.credentials.dependencies import PasswordsDep
from services.users.dependencies import SettingsDep
from shared.http.dependencies import SessionsDep
from shared.http.idempotency import IdempotencyKey, run_idempotently
from shared.http.problems import responses
from shared.http.responses import CREATED, created, is_repeat
from shared.ids import new_id
from shared.operations.dependencies import AdminCaller

logger = structlog.get_logger(__name__)
router = APIRouter(prefix="/v1/users", tags=["users"])


@router.post(
    "/verified",
    status_code=201,
    response_model=UserView,
    summary="Create a user with a verified address",
    response_description="The new user, who has a credit account.",
    responses=CREATED | responses(EmailTaken),
)
async def create_verified_user(
    body: SignUp,
    *,
    caller: AdminCaller,
    request: Request,
    sessions: SessionsDep,
    settings: SettingsDep,
    passwords: PasswordsDep,
    key: IdempotencyKey = None,
) -> Response:
    """Create a user whose e-mail address you vouch for, so that mails are sent to it at once. For admins.

    The Idempotency-Key is bound to the whole body except the password.
    """
    password_hash = await passwords.hash(body.password)  # takes 0.1 s: in the transaction it would hold a connection
    user_id = new_id()

    async def create(session: AsyncSession) -> Response:
        account = await create_account(
            session,
            user_id=user_id,
            profile=Profile(body.email, body.name, body.phone, body.locale, body.time_zone),
            password_hash=password_hash,
            credit_limit_cents=settings.default_credit_limit_cents,
            credit_currency=settings.credit_currency,
            email_verified_at=datetime.now(UTC),
        )
        return created(UserView.model_validate(account), location=f"/v1/users/{user_id}", version=account.version)

    response = await run_idempotently(
        sessions, request=request, caller_id=caller.user_id, key=key, body=body, action=create
    )
    if not is_repeat(response):
        logger.info("verified_user_created", user_id=str(user_id), actor=str(caller.user_id))
    return response

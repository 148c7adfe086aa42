"""Routes of accounts."""

import structlog
from fastapi import APIRouter, Depends, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from services.users.accounts import commands, queries, sign_ups
from services.users.accounts.commands import EmailTaken
from services.users.accounts.queries import AccountErased, UserNotFound
from services.users.accounts.schemas import ProfileChanges, SignUp, SignUpAccepted, UserView
from services.users.accounts.sign_ups import NewUser
from services.users.credentials.dependencies import PasswordPolicyDep, PasswordsDep, RequestLimitsDep
from services.users.credentials.hashing_queue import HashingOverloaded
from services.users.credentials.limits import LimitedUse, email_target
from services.users.credentials.policy import PASSWORD_PROBLEMS
from services.users.dependencies import EncryptionDep, SettingsDep
from services.users.one_time_tokens.requests import enqueue_reset_link
from services.users.security_record.commands import origin_of
from shared.http.auth import Caller, public
from shared.http.dependencies import SessionsDep
from shared.http.disconnects import while_connected
from shared.http.etags import IfMatch, etag_of
from shared.http.idempotency import IdempotencyKey, run_idempotently
from shared.http.problems import responses
from shared.http.responses import CREATED, VERSIONED, Documented, created, is_repeat, json_response
from shared.ids import new_id

logger = structlog.get_logger(__name__)
router = APIRouter(prefix="/v1/users", tags=["users"])

_ACCEPTED: Documented = {
    202: {
        "model": SignUpAccepted,
        "description": "In a deployment that hides its accounts: a mail to the address says how to continue.",
    }
}


@router.post(
    "",
    status_code=201,
    response_model=UserView,
    summary="Sign up",
    dependencies=[Depends(public)],
    response_description="The new user, who has a credit account.",
    responses=CREATED | _ACCEPTED | responses(EmailTaken, HashingOverloaded, *PASSWORD_PROBLEMS),
)
async def sign_up(
    body: SignUp,
    *,
    request: Request,
    sessions: SessionsDep,
    settings: SettingsDep,
    passwords: PasswordsDep,
    encryption: EncryptionDep,
    policy: PasswordPolicyDep,
    limits: RequestLimitsDep,
    key: IdempotencyKey = None,
) -> Response:
    """Create a user with the role `customer` and the default credit limit, and mail a link that verifies the address.

    If another account has the address, it is a 409. If nobody has verified that one, the address gets a link to take it
    over. A deployment that hides its accounts (`USERS_SIGN_UP_REVEALS_ACCOUNTS=false`) responds to every sign-up with
    the same 202, after the same time, and a mail tells the owner of the address how to continue: with a new account, or
    with the one that they have. The latter get such a mail once a day at most.

    The Idempotency-Key is bound to the whole body except the password.
    """
    passwords.check_capacity("sign_up")
    await limits.check(LimitedUse.SIGN_UP, target=email_target(body.email))
    policy.check(body.password, personal=(body.email, body.name))
    # Outside of the transaction, which would hold a connection meanwhile.
    password_hash = await while_connected(request, passwords.hash(body.password, use="sign_up"))
    user = NewUser(user_id=new_id(), profile=body.profile(), password_hash=password_hash, origin=origin_of(request))

    async def create(session: AsyncSession) -> Response:
        account = await sign_ups.sign_up(session, user, settings=settings)
        return created(UserView.model_validate(account), location=f"/v1/users/{account.id}", version=account.version)

    async def accept(session: AsyncSession) -> Response:
        await sign_ups.enqueue_sign_up(session, user, encryption=encryption)
        return json_response(SignUpAccepted(email=body.email), status=202)

    action = create if settings.sign_up_reveals_accounts else accept
    try:
        response = await run_idempotently(sessions, request=request, caller_id=None, key=key, body=body, action=action)
    except EmailTaken:
        async with sessions.begin() as session:
            await enqueue_reset_link(
                session, email=body.email, unverified_only=True, origin=user.origin, encryption=encryption
            )
        raise
    if response.status_code == 201 and not is_repeat(response):
        logger.info("user_signed_up", user_id=str(user.user_id))
    return response


@router.get("/me", summary="Read your own account", responses=VERSIONED | responses(UserNotFound))
async def read_own_user(caller: Caller, sessions: SessionsDep, response: Response) -> UserView:
    """Return your account."""
    async with sessions() as session:
        account = await queries.account_of(session, caller.user_id)
    response.headers["ETag"] = etag_of(account.version)
    return UserView.model_validate(account)


@router.patch("/me", summary="Update your own account", responses=VERSIONED | responses(UserNotFound, AccountErased))
async def update_own_user(
    body: ProfileChanges,
    *,
    request: Request,
    caller: Caller,
    sessions: SessionsDep,
    precondition: IfMatch,
    response: Response,
) -> UserView:
    """Change the members in the body; the others keep their values."""
    async with sessions.begin() as session:
        account, is_changed = await commands.update_profile(
            session,
            user_id=caller.user_id,
            precondition=precondition,
            changes=body.model_dump(exclude_unset=True),
            origin=origin_of(request),
        )
    if is_changed:
        logger.info("user_updated", user_id=str(account.id), version=account.version)
    response.headers["ETag"] = etag_of(account.version)
    return UserView.model_validate(account)

"""Routes of administration: staff find accounts; admins suspend, reinstate, set roles, create verified accounts."""

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

import structlog
from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncSession

from services.users.accounts.commands import EmailTaken
from services.users.accounts.fields import Email
from services.users.accounts.queries import AccountErased, UserNotFound, account_of
from services.users.accounts.schemas import UserView
from services.users.administration import commands
from services.users.administration.commands import AccountNotActive, AccountNotSuspended, Act, LastAdmin
from services.users.administration.queries import AccountFilter, accounts_of
from services.users.administration.schemas import (
    NewVerifiedUser,
    Reinstatement,
    Roles,
    SecondFactorRemoval,
    Suspension,
)
from services.users.authentication.dependencies import RECENTLY_AUTHENTICATED, STEP_UP_PROBLEMS
from services.users.credentials.dependencies import PasswordPolicyDep, PasswordsDep
from services.users.credentials.hashing_queue import HashingOverloaded
from services.users.credentials.policy import PASSWORD_PROBLEMS
from services.users.dependencies import AdminPermit, ChangeAccountPermit, ReadAccountPermit, SettingsDep
from services.users.models.accounts import Role, UserAccount, UserStatus
from services.users.second_factors.commands import SecondFactorMissing
from services.users.security_record.commands import origin_of
from shared.database import Sessions
from shared.http.auth import Permit, staff_only
from shared.http.dependencies import SessionsDep
from shared.http.disconnects import while_connected
from shared.http.etags import OptionalIfMatch, etag_of
from shared.http.idempotency import IdempotencyKey, run_idempotently
from shared.http.pagination import Page, PageParams, page_of
from shared.http.problems import responses
from shared.http.responses import CREATED, VERSIONED, created, is_repeat, versioned
from shared.http.spellings import Instant
from shared.ids import new_id
from shared.preconditions import Precondition

logger = structlog.get_logger(__name__)
router = APIRouter(prefix="/v1/users", tags=["users"])

EmailQuery = Annotated[Email | None, Query(description="Only the user with this address; case is ignored.")]
EmailPrefix = Annotated[
    str | None,
    Query(
        min_length=1,
        max_length=254,
        pattern=r"^[^\x00]*$",
        description="Only users whose address begins with this; case is ignored. The list is ordered by address.",
        examples=["ada@"],
    ),
]
CreatedAfter = Annotated[Instant | None, Query(description="Only users created at this time or later.")]
CreatedBefore = Annotated[Instant | None, Query(description="Only users created before this time.")]


@router.get("", summary="List users", dependencies=[Depends(staff_only)])
async def list_users(
    request: Request,
    *,
    sessions: SessionsDep,
    params: PageParams,
    email: EmailQuery = None,
    email_prefix: EmailPrefix = None,
    status: Annotated[UserStatus | None, Query(description="Only users with this status.")] = None,
    role: Annotated[Role | None, Query(description="Only users who have this role.")] = None,
    created_after: CreatedAfter = None,
    created_before: CreatedBefore = None,
) -> Page[UserView]:
    """Return users, newest first. For support and admins."""
    wanted = AccountFilter(
        email=email,
        email_prefix=email_prefix,
        status=status,
        role=role,
        created_after=created_after,
        created_before=created_before,
    )

    def view(account: UserAccount, *_order: str) -> UserView:
        return UserView.model_validate(account)

    async with sessions() as session:
        return await page_of(session, accounts_of(wanted), request=request, params=params, map=view)


@router.get("/{user_id}", summary="Read a user", responses=VERSIONED | responses(UserNotFound))
async def read_user(user_id: UUID, permit: ReadAccountPermit, sessions: SessionsDep, response: Response) -> UserView:
    """Return one user. For support and admins."""
    async with sessions() as session:
        permit.check_owner(user_id)
        account = await account_of(session, user_id)
    response.headers["ETag"] = etag_of(account.version)
    return UserView.model_validate(account)


@router.post(
    "/verified",
    status_code=201,
    response_model=UserView,
    summary="Create a verified user",
    response_description="The new user, who has a credit account.",
    responses=CREATED | responses(EmailTaken, HashingOverloaded, *PASSWORD_PROBLEMS),
)
async def create_verified_user(
    body: NewVerifiedUser,
    *,
    request: Request,
    permit: AdminPermit,
    sessions: SessionsDep,
    settings: SettingsDep,
    passwords: PasswordsDep,
    policy: PasswordPolicyDep,
    key: IdempotencyKey = None,
) -> Response:
    """Create a user with the role `customer`, whose address counts as verified, such as an imported one. For admins.

    The Idempotency-Key is bound to the whole body except the password.
    """
    if body.password is not None:
        policy.check(body.password, personal=(body.email, body.name))
    # A password that nobody knows, rather than a mark: sign-ins then take the same time for every account.
    password = body.password or SecretStr(secrets.token_urlsafe())
    # Outside of the transaction, which would hold a connection meanwhile.
    password_hash = await while_connected(request, passwords.hash(password, use="sign_up"))
    user_id = new_id()

    async def create(session: AsyncSession) -> Response:
        account = await commands.create_verified_account(
            session,
            user_id=user_id,
            profile=body.profile(),
            password_hash=password_hash,
            credit_limit_cents=settings.default_credit_limit_cents,
            credit_currency=settings.credit_currency,
            act=Act(permit.user_id, origin_of(request)),
        )
        return created(UserView.model_validate(account), location=f"/v1/users/{user_id}", version=account.version)

    response = await run_idempotently(
        sessions, request=request, caller_id=permit.user_id, key=key, body=body, action=create
    )
    if not is_repeat(response):
        logger.info("verified_user_created", user_id=str(user_id), actor=str(permit.user_id))
    return response


@router.post(
    "/{user_id}/suspend",
    response_model=UserView,
    summary="Suspend a user",
    responses=VERSIONED | responses(UserNotFound, AccountNotActive, LastAdmin),
)
async def suspend_user(
    user_id: UUID,
    *,
    body: Suspension,
    request: Request,
    permit: ChangeAccountPermit,
    sessions: SessionsDep,
    precondition: OptionalIfMatch,
    key: IdempotencyKey = None,
) -> Response:
    """Suspend an account: the user is signed out, can't sign in, and gets no credit for orders. For admins.

    The last active admin can't be suspended.
    """
    change = _AccountChange(commands.suspend, user_id, permit, precondition)
    response = await change.run(sessions, request=request, key=key, body=body)
    if not is_repeat(response):
        logger.warning("user_suspended", user_id=str(user_id), actor=str(permit.user_id))
    return response


@router.post(
    "/{user_id}/reinstate",
    response_model=UserView,
    summary="Reinstate a user",
    responses=VERSIONED | responses(UserNotFound, AccountNotSuspended),
)
async def reinstate_user(
    user_id: UUID,
    *,
    body: Reinstatement,
    request: Request,
    permit: ChangeAccountPermit,
    sessions: SessionsDep,
    precondition: OptionalIfMatch,
    key: IdempotencyKey = None,
) -> Response:
    """Make a suspended account active again. The user has to sign in anew. For admins."""
    change = _AccountChange(commands.reinstate, user_id, permit, precondition)
    response = await change.run(sessions, request=request, key=key, body=body)
    if not is_repeat(response):
        logger.info("user_reinstated", user_id=str(user_id), actor=str(permit.user_id))
    return response


@router.post(
    "/{user_id}/remove-second-factors",
    response_model=UserView,
    summary="Remove a user's second factors",
    dependencies=[RECENTLY_AUTHENTICATED],
    responses=VERSIONED | responses(*STEP_UP_PROBLEMS, UserNotFound, SecondFactorMissing),
)
async def remove_second_factors(
    user_id: UUID,
    *,
    body: SecondFactorRemoval,
    request: Request,
    permit: ChangeAccountPermit,
    sessions: SessionsDep,
    precondition: OptionalIfMatch,
    key: IdempotencyKey = None,
) -> Response:
    """Remove the authenticator app, the passkeys and the recovery codes of a user who has lost them. For admins.

    The user is signed out and told by mail. The password signs in then; an account without one needs a password reset.
    """
    change = _AccountChange(commands.remove_second_factors, user_id, permit, precondition)
    response = await change.run(sessions, request=request, key=key, body=body)
    if not is_repeat(response):
        logger.warning("second_factors_removed", user_id=str(user_id), actor=str(permit.user_id))
    return response


@router.put(
    "/{user_id}/roles",
    summary="Set a user's roles",
    dependencies=[RECENTLY_AUTHENTICATED],
    responses=VERSIONED | responses(*STEP_UP_PROBLEMS, UserNotFound, AccountErased, LastAdmin),
)
async def set_user_roles(
    user_id: UUID,
    *,
    body: Roles,
    request: Request,
    response: Response,
    permit: ChangeAccountPermit,
    sessions: SessionsDep,
    precondition: OptionalIfMatch,
) -> UserView:
    """Set all roles of a user. For admins, but not of their own account.

    The user is signed out, so that the roles count at once. The last active admin can't lose that role.
    """
    async with sessions.begin() as session:
        permit.check_owner(user_id)
        act = Act(permit.user_id, origin_of(request), precondition=precondition)
        account = await commands.set_roles(session, user_id=user_id, roles=body.roles, act=act)
    logger.warning("user_roles_set", user_id=str(user_id), roles=account.roles, actor=str(permit.user_id))
    response.headers["ETag"] = etag_of(account.version)
    return UserView.model_validate(account)


@dataclass(frozen=True)
class _AccountChange:
    """A change of an account by a command that takes a reason."""

    command: Callable[..., Awaitable[UserAccount]]
    user_id: UUID
    permit: Permit
    precondition: Precondition

    async def run(
        self,
        sessions: Sessions,
        *,
        request: Request,
        key: str | None,
        body: Suspension | Reinstatement | SecondFactorRemoval,
    ) -> Response:
        """Make the change once per key, and return the account."""

        async def change(session: AsyncSession) -> Response:
            self.permit.check_owner(self.user_id)
            act = Act(self.permit.user_id, origin_of(request), precondition=self.precondition)
            account = await self.command(session, user_id=self.user_id, reason=body.reason, act=act)
            return versioned(UserView.model_validate(account), version=account.version)

        return await run_idempotently(
            sessions, request=request, caller_id=self.permit.user_id, key=key, body=body, action=change
        )

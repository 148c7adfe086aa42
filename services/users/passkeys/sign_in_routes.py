"""Routes that sign in with a passkey alone."""

import structlog
from fastapi import APIRouter, Depends, Request, Response

from services.users.credentials.dependencies import RequestLimitsDep
from services.users.credentials.limits import LimitedUse
from services.users.models.accounts import UserAccount
from services.users.passkeys import commands
from services.users.passkeys.dependencies import RelyingPartyDep
from services.users.passkeys.schemas import PasskeySignIn, RequestOptionsView
from services.users.security_record.commands import origin_of
from services.users.sessions.commands import AccountInactive
from services.users.sessions.schemas import TokenPairView
from services.users.sessions.sign_in import SignInFlowDep
from shared.errors import Unauthenticated
from shared.http.auth import public
from shared.http.dependencies import SessionsDep
from shared.http.problems import responses

logger = structlog.get_logger(__name__)
router = APIRouter(prefix="/v1/sessions/passkey", tags=["sessions"], dependencies=[Depends(public)])


class PasskeyInvalid(Unauthenticated):
    """The passkey is unknown or invalid, or its challenge was answered before or has expired."""

    code = "passkey_invalid"


@router.post("/options", summary="Get the options to authenticate with a passkey")
async def create_authentication_options(
    party: RelyingPartyDep, limits: RequestLimitsDep, sessions: SessionsDep, response: Response
) -> RequestOptionsView:
    """Return the options for `navigator.credentials.get()`, with a challenge that works once.

    The browser offers the user's passkeys, so no e-mail address is needed. The answer signs in, is the second factor
    of a sign-in, or steps up.
    """
    await limits.check(LimitedUse.SIGN_IN)
    async with sessions.begin() as session:
        options = await commands.request_options(session, party=party)
    response.headers["Cache-Control"] = "no-store"
    return RequestOptionsView(public_key=options)


@router.post(
    "",
    status_code=201,
    summary="Sign in with a passkey",
    responses=responses(PasskeyInvalid, AccountInactive),
)
async def sign_in_with_passkey(
    body: PasskeySignIn,
    *,
    request: Request,
    flow: SignInFlowDep,
    party: RelyingPartyDep,
    sessions: SessionsDep,
) -> TokenPairView:
    """Exchange a passkey's answer for an access token and a refresh token.

    A passkey is two factors by itself: the device, and its PIN or biometrics. So nothing else is asked.
    """
    await flow.limits.check(LimitedUse.SIGN_IN)
    async with sessions.begin() as session:
        passkey = await commands.use_passkey(
            session, party=party, credential=body.credential.json_object(), origin=origin_of(request)
        )
        if passkey is not None:
            account = await session.get_one(UserAccount, passkey.user_id)
            grant = await flow.start_session(session, account, methods=["hwk"])
    if passkey is None:
        raise PasskeyInvalid
    logger.info("session_started", user_id=str(grant.account.id), session_id=str(grant.session_id))
    return await flow.token_pair(grant)

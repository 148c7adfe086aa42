"""Routes that sign in with a passkey alone."""

import structlog
from fastapi import APIRouter, Depends, Request, Response

from services.users.dependencies import SettingsDep
from services.users.models.accounts import UserAccount
from services.users.passkeys import commands
from services.users.passkeys.dependencies import RelyingPartyDep
from services.users.passkeys.schemas import PasskeySignIn, RequestOptionsView
from services.users.security_record.commands import origin_of
from services.users.sessions.commands import AccountInactive, start_session
from services.users.sessions.dependencies import AccessTokensDep
from services.users.sessions.routes import token_pair
from services.users.sessions.schemas import TokenPairView
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
    party: RelyingPartyDep, sessions: SessionsDep, response: Response
) -> RequestOptionsView:
    """Return the options for `navigator.credentials.get()`, with a challenge that works once.

    The browser offers the user's passkeys, so no e-mail address is needed. The answer signs in, is the second factor
    of a sign-in, or steps up.
    """
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
    response: Response,
    party: RelyingPartyDep,
    sessions: SessionsDep,
    settings: SettingsDep,
    access_tokens: AccessTokensDep,
) -> TokenPairView:
    """Exchange a passkey's answer for an access token and a refresh token.

    A passkey is two factors by itself: the device, and its PIN or biometrics. So nothing else is asked.
    """
    origin = origin_of(request)
    async with sessions.begin() as session:
        passkey = await commands.use_passkey(
            session, party=party, credential=body.credential.json_object(), origin=origin
        )
        if passkey is not None:
            grant = await start_session(
                session,
                account=await session.get_one(UserAccount, passkey.user_id),
                origin=origin,
                methods=["passkey"],
                lifetime=settings.refresh_token_lifetime,
            )
    if passkey is None:
        raise PasskeyInvalid
    logger.info("session_started", user_id=str(grant.account.id), session_id=str(grant.session_id))
    return token_pair(grant, access_tokens=access_tokens, response=response)

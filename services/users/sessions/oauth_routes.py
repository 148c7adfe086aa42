"""OAuth 2: the token endpoint (RFC 6749) and the revocation endpoint (RFC 7009), for clients that expect them.

Their errors are those of RFC 6749, `{"error": ..., "error_description": ...}`, and no problem details: such clients,
the Authorize button of /docs among them, read no other form. Unexpected errors (500, 503) and 413 are problems here
too.
"""

from contextlib import suppress

from fastapi import APIRouter, Depends, Request
from pydantic import ValidationError

from services.users.credentials.authentication import CredentialsInvalid
from services.users.security_record.commands import origin_of
from services.users.sessions import revocation
from services.users.sessions.oauth_errors import (
    GrantTypeUnsupported,
    OAuthRoute,
    RequestMalformed,
    oauth_responses,
)
from services.users.sessions.oauth_schemas import RevocationFormDep, RevokedView, TokenForm, TokenFormDep
from services.users.sessions.revocation import SessionNotFound
from services.users.sessions.schemas import SignIn, TokenPairView
from services.users.sessions.sign_in import SignInFlow, SignInFlowDep
from shared.errors import Unauthenticated
from shared.http.auth import public
from shared.http.dependencies import SessionsDep
from shared.http.openapi import own_errors
from shared.http.tokens import Principal, TokenVerifier

router = APIRouter(
    prefix="/v1/oauth",
    tags=["oauth"],
    route_class=OAuthRoute,
    dependencies=[Depends(public), Depends(own_errors)],
)


@router.post("/token", summary="Get tokens", responses=oauth_responses())
async def issue_tokens(form: TokenFormDep, flow: SignInFlowDep) -> TokenPairView:
    """Exchange a password or a refresh token for tokens, as OAuth 2 describes it.

    The grants are `password` and `refresh_token`. They do what `POST /v1/sessions` and `POST /v1/sessions/refresh` do,
    under the same limits. There are no clients and no scopes: `client_id`, `client_secret` and `scope` are ignored.
    """
    if form.grant_type == "password":
        return await _sign_in(form, flow)
    if form.grant_type == "refresh_token":
        if form.refresh_token is None:
            raise RequestMalformed("refresh_token is missing.")
        return await flow.refresh(form.refresh_token)
    raise GrantTypeUnsupported


@router.post("/revoke", summary="Revoke a token", responses=oauth_responses())
async def revoke_token(form: RevocationFormDep, request: Request, sessions: SessionsDep) -> RevokedView:
    """End the session of a refresh token or an access token (RFC 7009).

    The response is 200 for an unknown token too: it works no more, as the client wished.
    """
    token, origin = form.token.get_secret_value(), origin_of(request)
    caller = await _caller_of(request, token)
    async with sessions.begin() as session:
        if caller is None:
            await revocation.revoke_session_of_token(session, refresh_token=token, origin=origin)
        elif caller.session_id is not None:
            with suppress(SessionNotFound):
                await revocation.end_session(
                    session, session_id=caller.session_id, user_id=caller.user_id, origin=origin
                )
    return RevokedView()


async def _caller_of(request: Request, token: str) -> Principal | None:
    verifier: TokenVerifier = request.app.state.token_verifier
    try:
        return await verifier.verify(token)
    except Unauthenticated:
        return None


async def _sign_in(form: TokenForm, flow: SignInFlow) -> TokenPairView:
    if form.username is None or form.password is None:
        raise RequestMalformed("username or password is missing.")
    try:
        credentials = SignIn.model_validate({"email": form.username, "password": form.password})
    except ValidationError:
        raise CredentialsInvalid from None  # no account has such an address or password
    return await flow.sign_in(email=credentials.email, password=credentials.password)

"""Routes of the pages that need no session: sign up, sign in, ask for a new password, sign out; and the script."""

import secrets
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Query, Request, Response
from starlette.responses import FileResponse, HTMLResponse

from services.users.accounts import routes as accounts
from services.users.accounts.schemas import SignUp
from services.users.credentials.dependencies import PasswordPolicyDep, PasswordsDep, RequestLimitsDep
from services.users.dependencies import EncryptionDep, SettingsDep
from services.users.pages import forms
from services.users.pages.browser_session import (
    HOME,
    REFRESH_COOKIE,
    SIGN_IN,
    drop_tokens,
    keep_tokens,
    own_path,
    redirect,
)
from services.users.pages.forms import RefusedForm
from services.users.pages.notices import notice_of
from services.users.pages.page_route import PageRoute
from services.users.pages.proofs import proof_of
from services.users.pages.rendering import FOLDER, account_page
from services.users.pages.same_origin import SAME_ORIGIN
from services.users.passkeys import sign_in_routes as passkeys
from services.users.passkeys.dependencies import RelyingPartyDep
from services.users.passkeys.schemas import AssertionCredential, PasskeySignIn
from services.users.recovery import routes as recovery
from services.users.recovery.dependencies import TokenPolicyDep
from services.users.recovery.schemas import PasswordResetRequest
from services.users.second_factors import sign_in_routes as second_factors
from services.users.second_factors.dependencies import VerifierDep
from services.users.second_factors.schemas import SecondFactor
from services.users.security_record.commands import origin_of
from services.users.sessions.challenges import ChallengeInvalid, SecondFactorRequired
from services.users.sessions.revocation import revoke_session_of_token
from services.users.sessions.schemas import SignIn
from services.users.sessions.sign_in import SignInFlowDep
from shared.http.auth import public
from shared.http.dependencies import SessionsDep

MAX_FIELD_LENGTH = 1_000
MAX_CREDENTIAL_LENGTH = 100_000
"""Characters of the JSON of a passkey."""

router = APIRouter(
    prefix=HOME, include_in_schema=False, dependencies=[Depends(public), SAME_ORIGIN], route_class=PageRoute
)

Text = Annotated[str, Form(max_length=MAX_FIELD_LENGTH)]
CredentialText = Annotated[str, Form(max_length=MAX_CREDENTIAL_LENGTH)]
Next = Annotated[str, Query(max_length=MAX_FIELD_LENGTH)]
Done = Annotated[str, Query(max_length=MAX_FIELD_LENGTH)]


@router.get("/passkeys.js")
async def read_script() -> FileResponse:
    return FileResponse(
        FOLDER / "static" / "passkeys.js",
        media_type="text/javascript",
        headers={"Cache-Control": "public, max-age=3600"},
    )


@router.get("/sign-up")
async def show_sign_up() -> HTMLResponse:
    return _sign_up_page(forms.Form())


@router.post("/sign-up")
async def sign_up(
    *,
    email: Text = "",
    name: Text = "",
    password: Text = "",
    key: Text = "",
    request: Request,
    sessions: SessionsDep,
    settings: SettingsDep,
    passwords: PasswordsDep,
    encryption: EncryptionDep,
    policy: PasswordPolicyDep,
    limits: RequestLimitsDep,
) -> Response:
    try:
        await accounts.sign_up(
            SignUp.model_validate({"email": email, "name": name, "password": password}),
            request=request,
            sessions=sessions,
            settings=settings,
            passwords=passwords,
            encryption=encryption,
            policy=policy,
            limits=limits,
            key=key or None,  # of two clicks, the second one gets the response of the first
        )
    except RefusedForm as reason:
        form = forms.Form({"email": email, "name": name, "key": key})
        return _sign_up_page(form.refused(reason, alias={"password": "new_password"}))
    return redirect(SIGN_IN, done="signed-up")


@router.get("/sign-in")
async def show_sign_in(next: Next = HOME, done: Done = "") -> HTMLResponse:  # noqa: A002 - the parameter's name
    return _sign_in_page(forms.Form(), next=next, notice=notice_of(done))


@router.post("/sign-in")
async def sign_in(
    flow: SignInFlowDep,
    email: Text = "",
    password: Text = "",
    next: Text = HOME,  # noqa: A002 - the field's name
) -> Response:
    form = forms.Form({"email": email})
    try:
        body = SignIn.model_validate({"email": email, "password": password})
        tokens = await flow.sign_in(email=body.email, password=body.password)
    except SecondFactorRequired as required:
        return _second_factor_page(
            forms.Form(), challenge=required.extra["challenge"], methods=" ".join(required.extra["methods"]), next=next
        )
    except RefusedForm as reason:
        return _sign_in_page(form.refused(reason), next=next)
    keep_tokens(flow, tokens)
    return redirect(own_path(next))


@router.post("/sign-in/passkey")
async def sign_in_with_passkey(
    *,
    request: Request,
    flow: SignInFlowDep,
    party: RelyingPartyDep,
    sessions: SessionsDep,
    credential: CredentialText = "",
    next: Text = HOME,  # noqa: A002 - the field's name
) -> Response:
    try:
        body = PasskeySignIn(credential=AssertionCredential.model_validate_json(credential))
        tokens = await passkeys.sign_in_with_passkey(body, request=request, flow=flow, party=party, sessions=sessions)
    except RefusedForm as reason:
        return _sign_in_page(forms.Form().refused(reason), next=next)
    keep_tokens(flow, tokens)
    return redirect(own_path(next))


@router.post("/sign-in/second-factor")
async def sign_in_with_second_factor(
    *,
    request: Request,
    flow: SignInFlowDep,
    sessions: SessionsDep,
    verifier: VerifierDep,
    challenge: Text = "",
    methods: Text = "",
    code: Text = "",
    recovery_code: Text = "",
    credential: CredentialText = "",
    next: Text = HOME,  # noqa: A002 - the field's name
) -> Response:
    try:
        proof = proof_of(code=code, recovery_code=recovery_code, credential=credential)
        body = SecondFactor.model_validate({"challenge": challenge, **proof})
        tokens = await second_factors.sign_in_with_second_factor(
            body, request=request, flow=flow, sessions=sessions, verifier=verifier
        )
    except ChallengeInvalid as reason:
        return _sign_in_page(forms.Form().refused(reason), next=next)
    except RefusedForm as reason:
        return _second_factor_page(forms.Form().refused(reason), challenge=challenge, methods=methods, next=next)
    keep_tokens(flow, tokens)
    return redirect(own_path(next))


@router.get("/lost-password")
async def show_lost_password() -> HTMLResponse:
    return account_page("lost_password.html", form=forms.Form())


@router.post("/lost-password")
async def ask_for_password_reset(
    *,
    email: Text = "",
    request: Request,
    limits: RequestLimitsDep,
    sessions: SessionsDep,
    encryption: EncryptionDep,
    policy: TokenPolicyDep,
) -> Response:
    try:
        await recovery.ask_for_password_reset(
            PasswordResetRequest.model_validate({"email": email}),
            request=request,
            limits=limits,
            sessions=sessions,
            encryption=encryption,
            policy=policy,
        )
    except RefusedForm as reason:
        form = forms.Form({"email": email}).refused(reason)
        return account_page("lost_password.html", status=form.status, form=form)
    return redirect(SIGN_IN, done="reset-mailed")


@router.post("/sign-out")
async def sign_out(request: Request, sessions: SessionsDep) -> Response:
    """End the session by its refresh token, which still works when the access token has expired."""
    if refresh_token := request.cookies.get(REFRESH_COOKIE):
        async with sessions.begin() as session:
            await revoke_session_of_token(session, refresh_token=refresh_token, origin=origin_of(request))
    drop_tokens(request)
    return redirect(SIGN_IN, done="signed-out")


def _sign_up_page(form: forms.Form) -> HTMLResponse:
    key = form.values.get("key") or secrets.token_urlsafe()
    return account_page("sign_up.html", status=form.status, form=form, key=key)


def _sign_in_page(form: forms.Form, *, next: str, notice: str | None = None) -> HTMLResponse:  # noqa: A002 - as above
    return account_page("sign_in.html", status=form.status, form=form, next=own_path(next), notice_text=notice)


def _second_factor_page(form: forms.Form, *, challenge: str, methods: str, next: str) -> HTMLResponse:  # noqa: A002
    hidden = {"challenge": challenge, "methods": methods, "next": own_path(next)}
    return account_page(
        "prove.html",
        status=form.status,
        form=form,
        title="Second step",
        text="Your password is right. Prove also that you have your second factor.",
        action="/account/sign-in/second-factor",
        methods=methods.split(),
        hidden=hidden,
    )

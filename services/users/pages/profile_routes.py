"""Routes of the pages of a user's own profile, e-mail address and password."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi import Form as FormField
from pydantic import Field, TypeAdapter, ValidationError
from starlette.responses import HTMLResponse

from services.users.accounts import routes as accounts
from services.users.accounts.fields import time_zones
from services.users.accounts.queries import account_of
from services.users.accounts.schemas import ProfileChanges
from services.users.authentication.queries import methods_of
from services.users.credentials.dependencies import PasswordPolicyDep, PasswordsDep, RequestLimitsDep
from services.users.models.accounts import UserAccount
from services.users.one_time_tokens.commands import OneTimeTokenInvalid
from services.users.pages.browser_session import HOME, Browser, BrowserSession, RecentBrowser, redirect
from services.users.pages.forms import Form, RefusedForm
from services.users.pages.notices import notice_of
from services.users.pages.page_route import PageRoute
from services.users.pages.rendering import account_page
from services.users.pages.same_origin import SAME_ORIGIN
from services.users.pages.sign_in_routes import Done, Text
from services.users.recovery import email_routes as emails
from services.users.recovery import routes as recovery
from services.users.recovery.dependencies import OWN_TOKEN, TokenPolicyDep
from services.users.recovery.schemas import EmailChangeRequest, MailedToken, PasswordChange
from services.users.second_factors import routes as second_factors
from shared.database import Sessions
from shared.http.auth import public
from shared.http.dependencies import SessionsDep
from shared.preconditions import Precondition

MAX_BIO_LENGTH = 10_000
"""Characters that a form may send. The API's own limit is lower; this bounds what it is given."""
_PROFILE = ("name", "phone", "bio", "locale", "time_zone")
_VERSION: TypeAdapter[int] = TypeAdapter(Annotated[int, Field(ge=0, lt=2**31)])

router = APIRouter(
    prefix=HOME, include_in_schema=False, dependencies=[Depends(public), SAME_ORIGIN], route_class=PageRoute
)


@router.get("")
async def show_profile(browser: Browser, sessions: SessionsDep, done: Done = "") -> HTMLResponse:
    async with sessions() as session:
        account = await account_of(session, browser.caller.user_id)
    form = Form({name: getattr(account, name) or "" for name in _PROFILE})
    return _profile_page(account, form, notice=notice_of(done))


@router.post("")
async def save_profile(
    *,
    browser: Browser,
    request: Request,
    sessions: SessionsDep,
    version: Text = "",
    name: Text = "",
    phone: Text = "",
    bio: Annotated[str, FormField(max_length=MAX_BIO_LENGTH)] = "",
    locale: Text = "",
    time_zone: Text = "",
) -> Response:
    values = {"name": name, "phone": phone, "bio": bio, "locale": locale, "time_zone": time_zone}
    try:
        precondition = Precondition.exactly(_VERSION.validate_strings(version))
        changes = {**values, "phone": phone.replace(" ", "") or None, "bio": bio.replace("\r\n", "\n") or None}
        await accounts.update_own_user(
            ProfileChanges.model_validate(changes),
            request=request,
            caller=browser.caller,
            sessions=sessions,
            precondition=precondition,
            response=Response(),
        )
    except RefusedForm as reason:
        async with sessions() as session:
            account = await account_of(session, browser.caller.user_id)
        return _profile_page(account, Form(values).refused(reason))
    return redirect(HOME, done="profile-saved")


@router.get("/email")
async def show_email(browser: RecentBrowser, sessions: SessionsDep, done: Done = "") -> HTMLResponse:
    return await _email_page(browser, sessions, Form(), notice=notice_of(done))


@router.post("/email")
async def ask_for_email_change(
    *,
    browser: RecentBrowser,
    request: Request,
    limits: RequestLimitsDep,
    sessions: SessionsDep,
    policy: TokenPolicyDep,
    email: Text = "",
) -> Response:
    try:
        await emails.ask_for_email_change(
            EmailChangeRequest.model_validate({"email": email}),
            request=request,
            caller=browser.caller,
            limits=limits,
            sessions=sessions,
            policy=policy,
        )
    except RefusedForm as reason:
        return await _email_page(browser, sessions, Form({"email": email}).refused(reason))
    return redirect(f"{HOME}/email", done="email-mailed")


@router.post("/email/verification")
async def send_verification_again(browser: Browser, sessions: SessionsDep, policy: TokenPolicyDep) -> Response:
    await emails.send_verification_again(browser.caller, sessions, policy)
    return redirect(HOME, done="verification-mailed")


@router.post("/email/verify")
async def verify_email(browser: Browser, request: Request, sessions: SessionsDep, token: Text = "") -> Response:
    """Use the token of a mailed link in the browser's session: an account may have no password to prove it by."""
    await emails.verify_own_email(_mailed(token), request, browser.permit(OWN_TOKEN), sessions)
    return redirect(HOME, done="email-verified")


@router.post("/email/confirm")
async def change_email(browser: Browser, request: Request, sessions: SessionsDep, token: Text = "") -> Response:
    """Change the address by the token of a mailed link, in the browser's session."""
    await emails.change_own_email(_mailed(token), request, browser.permit(OWN_TOKEN), sessions)
    return redirect(HOME, done="email-changed")


@router.get("/password")
async def show_password(browser: RecentBrowser, sessions: SessionsDep, done: Done = "") -> HTMLResponse:
    return await _password_page(browser, sessions, Form(), notice=notice_of(done))


@router.post("/password")
async def set_password(
    *,
    browser: RecentBrowser,
    request: Request,
    sessions: SessionsDep,
    passwords: PasswordsDep,
    policy: PasswordPolicyDep,
    new_password: Text = "",
) -> Response:
    try:
        await recovery.change_own_password(
            PasswordChange.model_validate({"new_password": new_password}),
            request=request,
            caller=browser.caller,
            sessions=sessions,
            passwords=passwords,
            password_policy=policy,
        )
    except RefusedForm as reason:
        return await _password_page(browser, sessions, Form().refused(reason))
    return redirect(f"{HOME}/password", done="password-set")


@router.post("/password/remove")
async def remove_password(browser: RecentBrowser, request: Request, sessions: SessionsDep) -> Response:
    try:
        await second_factors.remove_own_password(browser.caller, sessions, request)
    except RefusedForm as reason:
        return await _password_page(browser, sessions, Form().refused(reason))
    return redirect(f"{HOME}/password", done="password-removed")


def _mailed(token: str) -> MailedToken:
    """Return a token as the API takes it. Raises: OneTimeTokenInvalid."""
    try:
        return MailedToken.model_validate({"token": token})
    except ValidationError:
        raise OneTimeTokenInvalid from None


def _profile_page(account: UserAccount, form: Form, *, notice: str | None = None) -> HTMLResponse:
    return account_page(
        "profile.html",
        status=form.status,
        place="Profile",
        account=account,
        form=form,
        time_zones=time_zones(),
        notice_text=notice,
    )


async def _email_page(
    browser: BrowserSession, sessions: Sessions, form: Form, *, notice: str | None = None
) -> HTMLResponse:
    async with sessions() as session:
        account = await account_of(session, browser.caller.user_id)
    return account_page(
        "email.html", status=form.status, place="Profile", address=account.email, form=form, notice_text=notice
    )


async def _password_page(
    browser: BrowserSession, sessions: Sessions, form: Form, *, notice: str | None = None
) -> HTMLResponse:
    async with sessions() as session:
        methods = await methods_of(session, browser.caller.user_id)
    return account_page(
        "password.html", status=form.status, place="Security", methods=methods, form=form, notice_text=notice
    )

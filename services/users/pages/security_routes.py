"""Routes of the pages of what a user signs in with: the authenticator app, recovery codes and passkeys."""

import re
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import orjson
import segno
from fastapi import APIRouter, Depends, Request, Response
from starlette.responses import HTMLResponse

from services.users.authentication.queries import methods_of
from services.users.dependencies import EncryptionDep
from services.users.pages.browser_session import HOME, Browser, BrowserSession, RecentBrowser, redirect
from services.users.pages.forms import Form, RefusedForm
from services.users.pages.notices import notice_of
from services.users.pages.page_route import PageRoute
from services.users.pages.rendering import account_page
from services.users.pages.same_origin import SAME_ORIGIN
from services.users.pages.sign_in_routes import CredentialText, Done, Text
from services.users.passkeys import queries as passkey_queries
from services.users.passkeys import routes as passkeys
from services.users.passkeys.commands import MAX_PASSKEYS
from services.users.passkeys.dependencies import OWN_PASSKEY, RelyingPartyDep
from services.users.passkeys.schemas import NewPasskey, PasskeyChanges, RegistrationCredential
from services.users.second_factors import routes as second_factors
from services.users.second_factors.schemas import TotpConfirmation
from services.users.sessions.device_names import device_name
from shared.database import Sessions
from shared.http.auth import public
from shared.http.dependencies import SessionsDep

SECURITY = f"{HOME}/security"
PASSKEYS = f"{HOME}/passkeys"
_URI = re.compile(r"otpauth://totp/[!-~]{1,900}")
"""A secret as the page of a new app shows it; anything else may not fit into a QR code."""

router = APIRouter(
    prefix=HOME, include_in_schema=False, dependencies=[Depends(public), SAME_ORIGIN], route_class=PageRoute
)


@router.get("/security")
async def show_security(browser: Browser, sessions: SessionsDep, done: Done = "") -> HTMLResponse:
    async with sessions() as session:
        methods = await methods_of(session, browser.caller.user_id)
    return account_page("security.html", place="Security", methods=methods, notice_text=notice_of(done))


@router.get("/authenticator-app")
async def show_app(browser: RecentBrowser, sessions: SessionsDep) -> HTMLResponse:
    return await _app_page(browser, sessions, Form())


@router.post("/authenticator-app/secret")
async def start_app(browser: RecentBrowser, encryption: EncryptionDep, sessions: SessionsDep) -> Response:
    """Show a new secret. It can only be shown now, so the response is the page instead of a redirect."""
    try:
        secret = await second_factors.start_totp(browser.caller, encryption, sessions, Response())
    except RefusedForm as reason:
        return await _app_page(browser, sessions, Form().refused(reason))
    return _secret_page(Form({"uri": secret.uri}))


@router.post("/authenticator-app")
async def confirm_app(
    *,
    browser: Browser,
    request: Request,
    encryption: EncryptionDep,
    sessions: SessionsDep,
    code: Text = "",
    uri: Text = "",
) -> Response:
    """Add the app. `uri` is what this page showed, so that it can be shown again after a wrong code."""
    try:
        view = await second_factors.confirm_totp(
            TotpConfirmation.model_validate({"code": code.replace(" ", "")}),
            caller=browser.caller,
            session_id=browser.session_id,
            encryption=encryption,
            sessions=sessions,
            request=request,
            response=Response(),
        )
    except RefusedForm as reason:
        if not _URI.fullmatch(uri):  # not what the page sends
            return await _app_page(browser, sessions, Form().refused(reason))
        return _secret_page(Form({"uri": uri}).refused(reason))
    return _recovery_codes_page(view.recovery_codes) if view.recovery_codes else redirect(SECURITY, done="app-added")


@router.post("/authenticator-app/remove")
async def remove_app(browser: RecentBrowser, request: Request, sessions: SessionsDep) -> Response:
    await second_factors.remove_totp(browser.caller, sessions, request)
    return redirect(SECURITY, done="app-removed")


@router.get("/recovery-codes")
async def show_recovery_codes(browser: RecentBrowser, sessions: SessionsDep) -> HTMLResponse:
    async with sessions() as session:
        methods = await methods_of(session, browser.caller.user_id)
    return account_page("recovery_codes.html", place="Security", methods=methods)


@router.post("/recovery-codes")
async def replace_recovery_codes(browser: RecentBrowser, request: Request, sessions: SessionsDep) -> Response:
    """Show new codes. They can only be shown now, so the response is the page instead of a redirect."""
    view = await second_factors.replace_recovery_codes(browser.caller, sessions, request, Response())
    return _recovery_codes_page(view.recovery_codes)


@router.get("/passkeys")
async def show_passkeys(browser: Browser, sessions: SessionsDep, done: Done = "") -> HTMLResponse:
    return await _passkeys_page(browser, sessions, Form(), notice=notice_of(done))


@router.get("/passkeys/new")
async def show_new_passkey(
    browser: RecentBrowser, request: Request, party: RelyingPartyDep, sessions: SessionsDep
) -> Response:
    form = Form({"name": device_name(request.headers.get("user-agent"))})
    return await _new_passkey_page(browser, party, sessions, form)


@router.post("/passkeys/new")
async def register_passkey(
    *,
    browser: RecentBrowser,
    request: Request,
    party: RelyingPartyDep,
    sessions: SessionsDep,
    name: Text = "",
    credential: CredentialText = "",
) -> Response:
    try:
        registered = await passkeys.register_passkey(
            NewPasskey.model_validate(
                {"name": name, "credential": RegistrationCredential.model_validate_json(credential)}
            ),
            caller=browser.caller,
            session_id=browser.session_id,
            party=party,
            sessions=sessions,
            request=request,
            response=Response(),
        )
    except RefusedForm as reason:
        return await _new_passkey_page(browser, party, sessions, Form({"name": name}).refused(reason))
    if registered.recovery_codes:
        return _recovery_codes_page(registered.recovery_codes)
    return redirect(PASSKEYS, done="passkey-added")


@router.post("/passkeys/{passkey_id}/name")
async def rename_passkey(passkey_id: UUID, browser: Browser, sessions: SessionsDep, name: Text = "") -> Response:
    try:
        changes = PasskeyChanges.model_validate({"name": name})
        await passkeys.rename_own_passkey(passkey_id, changes, browser.permit(OWN_PASSKEY), sessions)
    except RefusedForm as reason:
        return await _passkeys_page(browser, sessions, Form().refused(reason))
    return redirect(PASSKEYS, done="passkey-renamed")


@router.post("/passkeys/{passkey_id}/remove")
async def remove_passkey(passkey_id: UUID, browser: RecentBrowser, request: Request, sessions: SessionsDep) -> Response:
    try:
        await passkeys.remove_own_passkey(passkey_id, browser.permit(OWN_PASSKEY), sessions, request)
    except RefusedForm as reason:
        return await _passkeys_page(browser, sessions, Form().refused(reason))
    return redirect(PASSKEYS, done="passkey-removed")


async def _app_page(browser: BrowserSession, sessions: Sessions, form: Form) -> HTMLResponse:
    async with sessions() as session:
        methods = await methods_of(session, browser.caller.user_id)
    return account_page("authenticator_app.html", status=form.status, place="Security", methods=methods, form=form)


def _secret_page(form: Form) -> HTMLResponse:
    uri = form.values["uri"]
    return account_page(
        "authenticator_secret.html",
        status=form.status,
        place="Security",
        form=form,
        secret=parse_qs(urlsplit(uri).query).get("secret", [""])[0],
        qr_code=segno.make(uri, micro=False).svg_inline(omitsize=True, border=4, dark="#000", light="#fff"),
    )


def _recovery_codes_page(codes: list[str]) -> HTMLResponse:
    return account_page("new_recovery_codes.html", place="Security", codes=codes)


async def _passkeys_page(
    browser: BrowserSession, sessions: Sessions, form: Form, *, notice: str | None = None
) -> HTMLResponse:
    async with sessions() as session:
        query = passkey_queries.passkeys_of(browser.caller.user_id)
        found = (await session.scalars(query.limit(MAX_PASSKEYS))).all()
    return account_page(
        "passkeys.html", status=form.status, place="Security", passkeys=found, form=form, notice_text=notice
    )


async def _new_passkey_page(
    browser: BrowserSession, party: RelyingPartyDep, sessions: Sessions, form: Form
) -> Response:
    """Show the form with new options, whose challenge works once."""
    try:
        view = await passkeys.create_passkey_options(browser.caller, party, sessions, Response())
    except RefusedForm as reason:
        return await _passkeys_page(browser, sessions, Form().refused(reason))
    options = orjson.dumps(view.public_key).decode()
    return account_page("new_passkey.html", status=form.status, place="Security", form=form, options=options)

"""Routes of the pages of a user's own sessions and security record, and of the confirmation of who the user is."""

from contextlib import suppress
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.responses import HTMLResponse

from services.users.authentication.queries import methods_of
from services.users.credentials.dependencies import PasswordAuthenticationDep, RequestLimitsDep
from services.users.pages.browser_session import (
    HOME,
    SIGN_IN,
    Browser,
    BrowserSession,
    drop_tokens,
    own_path,
    redirect,
)
from services.users.pages.forms import Form, RefusedForm
from services.users.pages.notices import notice_of
from services.users.pages.page_route import PageRoute
from services.users.pages.proofs import proof_of
from services.users.pages.rendering import account_page
from services.users.pages.same_origin import SAME_ORIGIN
from services.users.pages.security_events import described
from services.users.pages.sign_in_routes import CredentialText, Done, Next, Text
from services.users.second_factors import sign_in_routes as second_factors
from services.users.second_factors.dependencies import VerifierDep
from services.users.second_factors.schemas import StepUp
from services.users.security_record import routes as security_record
from services.users.sessions import routes as user_sessions
from services.users.sessions.dependencies import OWN_SESSION
from services.users.sessions.revocation import SessionNotFound
from shared.database import Sessions
from shared.http.auth import public
from shared.http.dependencies import SessionsDep
from shared.http.pagination import PageRequest

SESSIONS = f"{HOME}/sessions"
MAX_SESSIONS = 100
EVENTS_PER_PAGE = 20

router = APIRouter(
    prefix=HOME, include_in_schema=False, dependencies=[Depends(public), SAME_ORIGIN], route_class=PageRoute
)


@router.get("/sessions")
async def show_sessions(browser: Browser, request: Request, sessions: SessionsDep, done: Done = "") -> HTMLResponse:
    listed = await user_sessions.list_own_sessions(request, browser.caller, sessions, PageRequest(MAX_SESSIONS, None))
    return account_page("sessions.html", place="Devices", sessions=listed.items, notice_text=notice_of(done))


@router.post("/sessions/others/end")
async def end_other_sessions(browser: Browser, request: Request, sessions: SessionsDep) -> Response:
    await user_sessions.revoke_own_sessions(request, browser.caller, sessions, keep_current=True)
    return redirect(SESSIONS, done="others-ended")


@router.post("/sessions/all/end")
async def end_all_sessions(browser: Browser, request: Request, sessions: SessionsDep) -> Response:
    await user_sessions.revoke_own_sessions(request, browser.caller, sessions)
    drop_tokens(request)
    return redirect(SIGN_IN, done="signed-out-everywhere")


@router.post("/sessions/{session_id}/end")
async def end_session(session_id: UUID, browser: Browser, request: Request, sessions: SessionsDep) -> Response:
    with suppress(SessionNotFound):  # it has ended meanwhile, which is what was asked for
        await user_sessions.revoke_own_session(session_id, request, browser.permit(OWN_SESSION), sessions)
    return redirect(SESSIONS, done="session-ended")


@router.get("/security-record")
async def show_security_record(
    browser: Browser,
    request: Request,
    sessions: SessionsDep,
    cursor: Annotated[str | None, Query(max_length=500, pattern=r"^[A-Za-z0-9_-]+$")] = None,
) -> HTMLResponse:
    listed = await security_record.list_own_security_events(
        request, browser.caller, sessions, PageRequest(EVENTS_PER_PAGE, cursor)
    )
    events = [(event, described(event)) for event in listed.items]
    return account_page("security_record.html", place="Activity", events=events, next_cursor=listed.next_cursor)


@router.get("/confirm-identity")
async def show_confirmation(
    browser: Browser,
    sessions: SessionsDep,
    next: Next = HOME,  # noqa: A002 - the parameter's name
) -> HTMLResponse:
    return await _confirmation_page(browser, sessions, Form(), next=next)


@router.post("/confirm-identity")
async def confirm_identity(
    *,
    browser: Browser,
    request: Request,
    sessions: SessionsDep,
    authentication: PasswordAuthenticationDep,
    limits: RequestLimitsDep,
    verifier: VerifierDep,
    password: Text = "",
    code: Text = "",
    recovery_code: Text = "",
    credential: CredentialText = "",
    next: Text = HOME,  # noqa: A002 - the field's name
) -> Response:
    try:
        proof = proof_of(code=code, recovery_code=recovery_code, credential=credential, password=password)
        await second_factors.step_up(
            StepUp.model_validate(proof),
            request=request,
            caller=browser.caller,
            session_id=browser.session_id,
            sessions=sessions,
            authentication=authentication,
            limits=limits,
            verifier=verifier,
        )
    except RefusedForm as reason:
        return await _confirmation_page(browser, sessions, Form().refused(reason), next=next)
    return redirect(own_path(next))


async def _confirmation_page(
    browser: BrowserSession,
    sessions: Sessions,
    form: Form,
    *,
    next: str,  # noqa: A002 - as above
) -> HTMLResponse:
    async with sessions() as session:
        methods = (await methods_of(session, browser.caller.user_id)).for_step_up
    return account_page(
        "prove.html",
        status=form.status,
        place="Security",
        form=form,
        title="Confirm that it is you",
        text="This protects your account from somebody who finds your device unlocked. It holds for some minutes.",
        action=f"{HOME}/confirm-identity",
        methods=methods,
        hidden={"next": own_path(next)},
    )

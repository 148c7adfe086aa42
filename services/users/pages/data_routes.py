"""Routes of the pages of a user's own data: exports, the erasure of the account, and its receipt."""

import secrets
from typing import Annotated
from uuid import UUID

import orjson
from fastapi import APIRouter, Depends, Form, Request, Response
from starlette.responses import HTMLResponse

from services.users.data_export import routes as exports
from services.users.data_export.dependencies import OWN_EXPORT
from services.users.dependencies import SettingsDep
from services.users.erasure import routes as erasures
from services.users.pages import forms
from services.users.pages.browser_session import HOME, Browser, BrowserSession, RecentBrowser, drop_tokens, redirect
from services.users.pages.forms import RefusedForm
from services.users.pages.notices import notice_of
from services.users.pages.page_route import PageRoute
from services.users.pages.rendering import account_page
from services.users.pages.same_origin import SAME_ORIGIN
from services.users.pages.sign_in_routes import Done, Text
from shared.database import Sessions
from shared.http.auth import public
from shared.http.dependencies import SessionsDep
from shared.http.pagination import PageRequest

DATA = f"{HOME}/data"
MAX_EXPORTS = 20

router = APIRouter(
    prefix=HOME, include_in_schema=False, dependencies=[Depends(public), SAME_ORIGIN], route_class=PageRoute
)


@router.get("/data")
async def show_data(browser: Browser, request: Request, sessions: SessionsDep, done: Done = "") -> HTMLResponse:
    return await _data_page(browser, request, sessions, forms.Form(), notice=notice_of(done))


@router.post("/data/exports")
async def request_export(
    browser: RecentBrowser, request: Request, sessions: SessionsDep, settings: SettingsDep
) -> Response:
    """Request an export. While one is pending, the API makes no second one, so a repeat does no harm."""
    try:
        await exports.request_export(request=request, caller=browser.caller, sessions=sessions, settings=settings)
    except RefusedForm as reason:
        return await _data_page(browser, request, sessions, forms.Form().refused(reason))
    return redirect(DATA, done="export-requested")


@router.get("/data/exports/{export_id}")
async def download_export(export_id: UUID, browser: RecentBrowser, request: Request, sessions: SessionsDep) -> Response:
    return await exports.download_own_export(export_id, request, browser.permit(OWN_EXPORT), sessions)


@router.get("/erasure")
async def show_erasure(browser: RecentBrowser) -> HTMLResponse:  # noqa: ARG001 - the session is required
    return _erasure_page(forms.Form())


@router.post("/erasure")
async def erase(
    *,
    browser: RecentBrowser,
    request: Request,
    sessions: SessionsDep,
    key: Text = "",
    confirmed: Annotated[bool, Form()] = False,
) -> Response:
    form = forms.Form({"key": key})
    if not confirmed:
        return _erasure_page(forms.Form(form.values, error="Tick the box to confirm the erasure.", status=422))
    try:
        response = await erasures.request_own_erasure(
            request=request, caller=browser.caller, sessions=sessions, key=key or None
        )
    except RefusedForm as reason:
        return _erasure_page(form.refused(reason))
    drop_tokens(request)
    return redirect(f"{HOME}/erasures/{orjson.loads(response.body)['id']}")


@router.get("/erasures/{erasure_id}")
async def show_receipt(erasure_id: UUID, sessions: SessionsDep) -> HTMLResponse:
    return account_page("receipt.html", receipt=await erasures.read_receipt(erasure_id, sessions))


async def _data_page(
    browser: BrowserSession, request: Request, sessions: Sessions, form: forms.Form, *, notice: str | None = None
) -> HTMLResponse:
    listed = await exports.list_own_exports(request, browser.caller, sessions, PageRequest(MAX_EXPORTS, None))
    return account_page(
        "data.html", status=form.status, place="Data", exports=listed.items, form=form, notice_text=notice
    )


def _erasure_page(form: forms.Form) -> HTMLResponse:
    key = form.values.get("key") or secrets.token_urlsafe()
    return account_page("erasure.html", status=form.status, place="Data", form=form, key=key)

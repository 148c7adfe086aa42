"""Routes of the pages to which the links of mails lead: verify an address, change it, set a new password.

A GET changes nothing, because programs that check mails for viruses follow links. The form of the page sends the token.
"""

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Query, Request
from pydantic import ValidationError
from starlette.responses import FileResponse, HTMLResponse

from services.users.accounts.commands import EmailTaken
from services.users.credentials.dependencies import PasswordPolicyDep, PasswordsDep
from services.users.credentials.hashing_queue import HashingOverloaded
from services.users.credentials.policy import PASSWORD_PROBLEMS
from services.users.one_time_tokens.commands import OneTimeTokenInvalid
from services.users.pages.rendering import FOLDER, page
from services.users.recovery import routes as recovery
from services.users.recovery.schemas import EmailChange, EmailVerification, PasswordResetConfirmation
from shared.errors import Problem
from shared.http.auth import public
from shared.http.dependencies import SessionsDep

MAX_FIELD_LENGTH = 1_000
"""Characters of a field of a form. The rules of tokens and passwords are stricter; this bounds what they are given."""

router = APIRouter(prefix="/account", include_in_schema=False, dependencies=[Depends(public)])

Token = Annotated[str, Query(max_length=MAX_FIELD_LENGTH)]
FormText = Annotated[str, Form(max_length=MAX_FIELD_LENGTH)]


@router.get("/account.css")
async def read_styles() -> FileResponse:
    return FileResponse(FOLDER / "static" / "account.css", headers={"Cache-Control": "public, max-age=3600"})


@router.get("/verify")
async def show_verification(token: Token = "") -> HTMLResponse:
    return page("verify.html", token=token)


@router.post("/verify")
async def verify(token: FormText, request: Request, sessions: SessionsDep) -> HTMLResponse:
    try:
        await recovery.verify_email(EmailVerification.model_validate({"token": token}), request, sessions)
    except (OneTimeTokenInvalid, ValidationError):
        return _link_unusable()
    return page("done.html", title="Address confirmed", text="Thank you. Your e-mail address is confirmed.")


@router.get("/confirm-email")
async def show_email_change(token: Token = "") -> HTMLResponse:
    return page("confirm_email.html", token=token)


@router.post("/confirm-email")
async def confirm_email(token: FormText, request: Request, sessions: SessionsDep) -> HTMLResponse:
    try:
        await recovery.change_email(EmailChange.model_validate({"token": token}), request, sessions)
    except (OneTimeTokenInvalid, ValidationError):
        return _link_unusable()
    except EmailTaken:
        text = "Another account has this address. Your account keeps its former one."
        return page("done.html", status=EmailTaken.status, title="Address not changed", text=text)
    return page("done.html", title="Address changed", text="From now on, your account has this e-mail address.")


@router.get("/reset-password")
async def show_reset(token: Token = "") -> HTMLResponse:
    return page("reset_password.html", token=token, error=None)


@router.post("/reset-password")
async def reset_password(
    token: FormText,
    password: FormText,
    *,
    request: Request,
    sessions: SessionsDep,
    passwords: PasswordsDep,
    policy: PasswordPolicyDep,
) -> HTMLResponse:
    try:
        body = PasswordResetConfirmation.model_validate({"token": token, "new_password": password})
        await recovery.reset_password(body, request, sessions, passwords, policy)
    except ValidationError as invalid:
        if any(error["loc"] == ("token",) for error in invalid.errors()):
            return _link_unusable()
        return _ask_again(token, "Choose a password of 10 to 128 characters.", status=422)
    except OneTimeTokenInvalid:
        return _link_unusable()
    except PASSWORD_PROBLEMS as problem:
        return _ask_again(token, f"{problem.title}. {problem.detail or ''}", status=problem.status)
    except HashingOverloaded as problem:
        return _ask_again(token, "There is much to do at the moment. Send it again.", status=problem.status)
    text = "Your new password is set. All devices were signed out; sign in with the new password."
    return page("done.html", title="Password changed", text=text)


def _ask_again(token: str, error: str, *, status: int) -> HTMLResponse:
    return page("reset_password.html", status=status, token=token, error=error)


def _link_unusable() -> HTMLResponse:
    problem: type[Problem] = OneTimeTokenInvalid
    text = "The link was used before, has expired, or was replaced by a newer one. Ask for another one."
    return page("done.html", status=problem.status, title="The link does not work any more", text=text)

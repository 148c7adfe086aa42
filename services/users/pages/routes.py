"""Routes of the pages to which the links of mails lead: verify an address, change it, set a new password.

A GET changes nothing, because programs that check mails for viruses follow links. The form of the page sends the token.
"""

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Query, Request
from pydantic import ValidationError
from starlette.responses import FileResponse, HTMLResponse

from services.users.accounts.commands import EmailTaken
from services.users.credentials.growing_delay import TooManyAttempts
from services.users.credentials.hashing_queue import HashingOverloaded
from services.users.credentials.policy import PASSWORD_PROBLEMS
from services.users.one_time_tokens.commands import OneTimeTokenInvalid
from services.users.pages.rendering import FOLDER, page
from services.users.recovery import email_routes as emails
from services.users.recovery import routes as recovery
from services.users.recovery.dependencies import CONFIRMATION_PROBLEMS, PasswordConfirmationDep, PasswordReplacementDep
from services.users.recovery.schemas import (
    EmailChange,
    EmailVerification,
    EmailVerificationWithNewPassword,
    PasswordResetConfirmation,
)
from shared.errors import Problem
from shared.http.auth import public
from shared.http.dependencies import SessionsDep

MAX_FIELD_LENGTH = 1_000
"""Characters of a field of a form. The rules of tokens and passwords are stricter; this bounds what they are given."""

BUSY = "There is much to do at the moment. Send it again."

router = APIRouter(prefix="/account", include_in_schema=False, dependencies=[Depends(public)])

Token = Annotated[str, Query(max_length=MAX_FIELD_LENGTH)]
FormText = Annotated[str, Form(max_length=MAX_FIELD_LENGTH)]


@router.get("/account.css")
async def read_styles() -> FileResponse:
    return FileResponse(FOLDER / "static" / "account.css", headers={"Cache-Control": "public, max-age=3600"})


@router.get("/verify")
async def show_verification(token: Token = "") -> HTMLResponse:
    return _verification_page(token)


@router.post("/verify")
async def verify(
    token: FormText,
    password: FormText,
    *,
    request: Request,
    sessions: SessionsDep,
    confirmation: PasswordConfirmationDep,
) -> HTMLResponse:
    try:
        body = EmailVerification.model_validate({"token": token, "password": password})
        await emails.verify_email(body, request, sessions, confirmation)
    except (OneTimeTokenInvalid, ValidationError, *CONFIRMATION_PROBLEMS) as error:
        if _is_about_token(error):
            return _link_unusable()
        return _verification_page(token, error=_why_refused(error), status=_status_of(error))
    return page("done.html", title="Address confirmed", text="Thank you. Your e-mail address is confirmed.")


@router.post("/verify-with-new-password")
async def verify_with_new_password(
    token: FormText,
    password: FormText,
    *,
    request: Request,
    sessions: SessionsDep,
    replacement: PasswordReplacementDep,
) -> HTMLResponse:
    try:
        body = EmailVerificationWithNewPassword.model_validate({"token": token, "new_password": password})
        await emails.verify_email_with_new_password(body, request, sessions, replacement)
    except (OneTimeTokenInvalid, ValidationError, HashingOverloaded, *PASSWORD_PROBLEMS) as error:
        if _is_about_token(error):
            return _link_unusable()
        return _verification_page(token, new_error=_why_not_new(error), status=_status_of(error))
    text = "Your e-mail address is confirmed, and your new password is set. Sign in with it."
    return page("done.html", title="Address confirmed", text=text)


@router.get("/confirm-email")
async def show_email_change(token: Token = "") -> HTMLResponse:
    return page("confirm_email.html", token=token, error=None)


@router.post("/confirm-email")
async def confirm_email(
    token: FormText,
    password: FormText,
    *,
    request: Request,
    sessions: SessionsDep,
    confirmation: PasswordConfirmationDep,
) -> HTMLResponse:
    try:
        body = EmailChange.model_validate({"token": token, "password": password})
        await emails.change_email(body, request, sessions, confirmation)
    except EmailTaken:
        text = "Another account has this address. Your account keeps its former one."
        return page("done.html", status=EmailTaken.status, title="Address not changed", text=text)
    except (OneTimeTokenInvalid, ValidationError, *CONFIRMATION_PROBLEMS) as error:
        if _is_about_token(error):
            return _link_unusable()
        return page("confirm_email.html", status=_status_of(error), token=token, error=_why_refused(error))
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
    replacement: PasswordReplacementDep,
) -> HTMLResponse:
    try:
        body = PasswordResetConfirmation.model_validate({"token": token, "new_password": password})
        await recovery.reset_password(body, request, sessions, replacement)
    except (OneTimeTokenInvalid, ValidationError, HashingOverloaded, *PASSWORD_PROBLEMS) as error:
        if _is_about_token(error):
            return _link_unusable()
        return page("reset_password.html", status=_status_of(error), token=token, error=_why_not_new(error))
    text = "Your new password is set. All devices were signed out; sign in with the new password."
    return page("done.html", title="Password changed", text=text)


def _verification_page(
    token: str, *, error: str | None = None, new_error: str | None = None, status: int = 200
) -> HTMLResponse:
    return page("verify.html", status=status, token=token, error=error, new_error=new_error)


def _is_about_token(error: ValidationError | Problem) -> bool:
    if isinstance(error, ValidationError):
        return any(each["loc"] == ("token",) for each in error.errors())
    return isinstance(error, OneTimeTokenInvalid)


def _status_of(error: ValidationError | Problem) -> int:
    return error.status if isinstance(error, Problem) else 422


def _why_refused(error: ValidationError | Problem) -> str:
    """Say why a present password was not accepted."""
    if isinstance(error, TooManyAttempts):
        return "There were too many wrong passwords. Wait a moment, and send it again."
    return BUSY if isinstance(error, HashingOverloaded) else "This password is wrong."


def _why_not_new(error: ValidationError | Problem) -> str:
    """Say why a new password was not accepted."""
    if isinstance(error, ValidationError):
        return "Choose a password of 10 to 128 characters."
    return BUSY if isinstance(error, HashingOverloaded) else f"{error.title}. {error.detail or ''}"


def _link_unusable() -> HTMLResponse:
    problem: type[Problem] = OneTimeTokenInvalid
    text = "The link was used before, has expired, or was replaced by a newer one. Ask for another one."
    return page("done.html", status=problem.status, title="The link does not work any more", text=text)

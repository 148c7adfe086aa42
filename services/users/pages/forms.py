"""Forms: what was typed, and what is wrong with it, in words for people. A password is never sent back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from pydantic import ValidationError

from services.users.credentials.password_text import MIN_NEW_PASSWORD_LENGTH
from shared.errors import Problem, TooManyRequests
from shared.http.problems import ValidationFailed

RefusedForm = (Problem, ValidationError)
"""The errors that a form explains."""

_FIELDS = {
    "email": "Enter an e-mail address, such as ada@example.com.",
    "name": "Enter a name of one line, without links and special characters.",
    "phone": "Enter the number with its country code and without spaces, such as +442071838750.",
    "bio": "Enter at most 2,000 characters of text.",
    "locale": "Enter the tag of a language, such as en or en-GB.",
    "time_zone": "Choose a time zone of the list.",
    "password": "Enter the password.",
    "new_password": f"Enter {MIN_NEW_PASSWORD_LENGTH} to 128 characters that a keyboard can type.",
    "code": "Enter the six digits that the app shows.",
    "recovery_code": "Enter one of your recovery codes, such as ABCD-EFGH-IJKL-MNOP.",
}
"""Instructions for each field, by its name in the API."""
_FIELDS_OF_PROBLEMS = {
    "email_taken": "email",
    "email_unchanged": "email",
    "password_breached": "new_password",
    "password_weak": "new_password",
    "code_wrong": "code",
}
_TEXTS = {
    "credentials_invalid": "The e-mail address or the password is wrong.",
    "second_factor_invalid": "That is wrong, or was used before. Try another one.",
    "challenge_invalid": "The sign-in took too long, or there were too many answers. Sign in again.",
    "passkey_invalid": "This passkey is not known here, or the answer came too late. Try again.",
    "passkey_registration_invalid": "The passkey could not be verified, or it took too long. Try again.",
    "precondition_failed": "Your profile was changed elsewhere while this page was open. Save again to replace that"
    " change with yours.",
    "email_taken": "There is an account with this address already. Sign in, or ask for a new password.",
    "password_hashing_overloaded": "There is much to do at the moment. Try again in some seconds.",
    "validation_failed": "Something in this form is missing or too long.",
    "too_many_links": "You have been sent enough mails for now. Look into your mailbox, or try again later.",
    "last_way_in": "You could lose access to your account without this. An account without a password needs two"
    " passkeys, or a passkey and a recovery code.",
    "one_time_token_invalid": "The link was used before, has expired, was replaced by a newer one, or is of another"
    " account than the one that is signed in here.",
    "totp_not_found": "There is no app that waits for its confirmation. Begin again.",
}
"""Texts of problems whose title speaks to programmers."""


def text_of(problem: Problem) -> str:
    """Return a problem's description for people."""
    text = _TEXTS.get(problem.code)
    if text is None:
        text = f"{problem.title}. {problem.detail or ''}".strip()
    if isinstance(problem, TooManyRequests):
        text = f"{text} Wait {_duration(int(problem.headers['Retry-After']))}."
    return text


def _duration(seconds: int) -> str:
    if seconds < 120:
        return f"{seconds} seconds" if seconds > 1 else "a second"
    return f"{-(-seconds // 60)} minutes"


@dataclass(frozen=True)
class Form:
    """The fields of a form, with errors for some of them, or one for the whole."""

    values: Mapping[str, str] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    error: str | None = None
    status: int = 200

    def refused(self, reason: Problem | ValidationError, *, alias: Mapping[str, str] | None = None) -> Self:
        """Return the form with what was wrong. `alias` maps fields of the API to those of the form."""
        if isinstance(reason, ValidationError):
            names = (str(error["loc"][0]) if error["loc"] else "" for error in reason.errors())
            errors = dict(map(_explained, ((alias or {}).get(name, name) for name in names)))
            status = ValidationFailed.status
        else:
            errors, status = {_FIELDS_OF_PROBLEMS.get(reason.code, ""): text_of(reason)}, reason.status
        return type(self)(self.values, errors, errors.pop("", None), status)


def _explained(name: str) -> tuple[str, str]:
    """Return a field and its error; the error of a field that is not filled in by hand is one of the whole form."""
    return (name, _FIELDS[name]) if name in _FIELDS else ("", _TEXTS[ValidationFailed.code])

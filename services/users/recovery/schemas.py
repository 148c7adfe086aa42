"""Request and response bodies of recovery."""

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from services.users.accounts.fields import Email
from services.users.credentials.fields import NewPassword, Password, Secret
from shared.http.bodies import RequestBody, ResponseBody

_TOKEN = "jv0Hn3mYcQ1V0m0o3yq8c2w5Jr6sZlq9bV2n8kT4xEo"  # noqa: S105 - an example

OneTimeToken = Annotated[
    Secret, Field(min_length=1, max_length=100, description="The token of the mailed link.", examples=[_TOKEN])
]


class EmailVerification(RequestBody):
    """The proof that an account's address is the caller's, and the account's password."""

    token: OneTimeToken
    password: Password


class EmailVerificationWithNewPassword(RequestBody):
    """The proof that an account's address is the caller's, and a new password."""

    token: OneTimeToken
    new_password: NewPassword


class MailedToken(RequestBody):
    """The proof that an address is the caller's, who is signed in."""

    token: OneTimeToken


class EmailChangeRequest(RequestBody):
    """A new address."""

    email: Email


class EmailChange(RequestBody):
    """The proof that the new address is the caller's, and the account's password."""

    token: OneTimeToken
    password: Password


class PasswordResetRequest(RequestBody):
    """The address of an account whose password is lost."""

    email: Email


class PasswordResetConfirmation(RequestBody):
    """The proof that the account's address is the caller's, and a new password."""

    token: OneTimeToken
    new_password: NewPassword


class PasswordChange(RequestBody):
    """A new password."""

    new_password: NewPassword


class MailedLinkView(ResponseBody):
    """A link that works once."""

    expires_in: Annotated[
        int, Field(description="Seconds for which the link works, from when it is mailed.", examples=[3600])
    ]

    @classmethod
    def lasting(cls, lifetime: timedelta) -> "MailedLinkView":
        """Return the view of a link with this lifetime."""
        return cls(expires_in=int(lifetime.total_seconds()))

"""Events of the users service: users and their credit. Key: user id."""

from datetime import datetime
from typing import ClassVar, Literal
from uuid import UUID

from shared.events.contract import Event
from shared.personal_data import PersonalData


class UserEvent(Event):
    """An event about one user."""

    topic: ClassVar[str] = "users"
    key_field: ClassVar[str] = "user_id"

    user_id: UUID
    """The id of the user."""


class UserCreated(UserEvent):
    """A user was created, by signing up or by an operator."""

    type: ClassVar[str] = "user.created"

    email: str
    """The e-mail address of the user."""
    name: str
    """The name of the user."""
    phone: str | None
    """The phone number of the user, in E.164 format."""
    locale: str
    """The language of messages to the user, as a BCP 47 tag."""
    time_zone: str
    """The time zone of the user, as a name of the IANA database."""


class UserUpdated(UserEvent):
    """A user's profile changed, or its state is sent again. Replace what you have stored."""

    type: ClassVar[str] = "user.updated"

    email: str
    """The e-mail address of the user."""
    name: str
    """The name of the user."""
    phone: str | None
    """The phone number of the user, in E.164 format."""
    locale: str
    """The language of messages to the user, as a BCP 47 tag."""
    time_zone: str
    """The time zone of the user, as a name of the IANA database."""


class AccountMail(PersonalData):
    """The address and the token of a mail about an account, sealed with the key of the user."""

    email: str
    """The address that the mail goes to."""
    token: str
    """The one-time token of the mail's link; empty if the mail has no link."""


class LinkRequested(UserEvent):
    """An event that asks for a mail with a link that works once."""

    personal: str
    """The address and the one-time token, as a JWE that the user's key opens."""
    locale: str
    """The language of the mail, as a BCP 47 tag."""
    expires_at: datetime
    """The time from which on the link no longer works."""


class EmailVerificationRequested(LinkRequested):
    """A user is to prove, by a link in a mail, that the address of the account is theirs."""

    type: ClassVar[str] = "user.email_verification_requested"


class EmailChangeRequested(LinkRequested):
    """A user is to prove, by a link in a mail, that the new address of the account is theirs."""

    type: ClassVar[str] = "user.email_change_requested"


class PasswordResetRequested(LinkRequested):
    """Somebody asked for a link to the account's address that sets a new password."""

    type: ClassVar[str] = "user.password_reset_requested"


class EmailVerified(UserEvent):
    """A user has proved that the address of the account is theirs."""

    type: ClassVar[str] = "user.email_verified"


class EmailChanged(UserEvent):
    """A user's verified address was replaced. The former one is told, in case somebody else did it."""

    type: ClassVar[str] = "user.email_changed"

    personal: str
    """The former address, as a JWE that the user's key opens."""
    locale: str
    """The language of the mail, as a BCP 47 tag."""


class PasswordChanged(UserEvent):
    """A user's password was changed or reset. The user is told, in case somebody else did it."""

    type: ClassVar[str] = "user.password_changed"


class UserPurged(UserEvent):
    """An account whose address was never verified was deleted. Delete what you have stored of the user."""

    type: ClassVar[str] = "user.purged"


class CreditEvent(UserEvent):
    """An event about the credit for one order."""

    order_id: UUID
    """The id of the order."""
    amount_cents: int
    """The amount, in the currency's smallest unit."""
    currency: str
    """The currency, as an ISO 4217 code."""


class CreditReserved(CreditEvent):
    """Credit for the order's total was reserved."""

    type: ClassVar[str] = "user.credit_reserved"


CreditRefusedReason = Literal["limit_exceeded", "currency_mismatch", "user_unknown", "user_inactive"]


class CreditRefused(CreditEvent):
    """Credit for the order's total was refused."""

    type: ClassVar[str] = "user.credit_refused"

    reason: CreditRefusedReason
    """The reason for which the credit was refused."""


class CreditReleased(CreditEvent):
    """The credit that was reserved for the order is available again."""

    type: ClassVar[str] = "user.credit_released"

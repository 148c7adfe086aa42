"""Events of the users service: users and their credit. Key: user id."""

from datetime import datetime
from typing import ClassVar, Literal
from uuid import UUID

from shared.events.contract import Event


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


SecondFactorChange = Literal[
    "totp_added",
    "totp_removed",
    "passkey_added",
    "passkey_removed",
    "recovery_codes_replaced",
    "recovery_code_used",
    "password_removed",
]


class SecondFactorChanged(UserEvent):
    """The means by which a user signs in changed. If it was not the user, somebody else is in the account."""

    type: ClassVar[str] = "user.second_factor_changed"

    change: SecondFactorChange
    """The change."""
    occurred_at: datetime
    """The time of the change."""


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

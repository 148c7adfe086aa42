"""Events of the users service: people, and what became of their credit. Key: user id."""

from typing import ClassVar, Literal
from uuid import UUID

from shared.events.contract import Event


class UserEvent(Event):
    """Anything that happened to one user."""

    topic: ClassVar[str] = "users"
    key_field: ClassVar[str] = "user_id"

    user_id: UUID


class UserCreated(UserEvent):
    """Somebody signed up."""

    type: ClassVar[str] = "user.created"

    email: str
    name: str
    phone: str | None
    locale: str
    """A BCP 47 tag: the language of messages."""
    time_zone: str
    """A name of the IANA database."""


class UserUpdated(UserEvent):
    """The address data as they are now; a reader replaces what it kept."""

    type: ClassVar[str] = "user.updated"

    email: str
    name: str
    phone: str | None
    locale: str
    """A BCP 47 tag: the language of messages."""
    time_zone: str
    """A name of the IANA database."""


class CreditEvent(UserEvent):
    """The answer of the credit account to one order."""

    order_id: UUID
    amount_cents: int
    currency: str


class CreditReserved(CreditEvent):
    """The order's total is set aside."""

    type: ClassVar[str] = "user.credit_reserved"


CreditRefusedReason = Literal["limit_exceeded", "currency_mismatch", "user_unknown", "user_inactive"]


class CreditRefused(CreditEvent):
    """The order can't be paid on credit."""

    type: ClassVar[str] = "user.credit_refused"

    reason: CreditRefusedReason


class CreditReleased(CreditEvent):
    """What had been set aside for the order is free again."""

    type: ClassVar[str] = "user.credit_released"

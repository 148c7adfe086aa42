"""Events of the users service: users and their credit. Key: user id."""

from datetime import datetime
from typing import ClassVar, Literal
from uuid import UUID

from shared.events.contract import Event
from shared.personal_data import PersonalData


class Contact(PersonalData):
    """A user's personal data, sealed in the events of profiles."""

    email: str
    name: str
    phone: str | None
    """The phone number in E.164 format."""


class AccountMail(PersonalData):
    """The address and the one-time token of a mail about an account, sealed in the event that asks for the mail."""

    email: str
    token: str


class UserEvent(Event):
    """An event about one user."""

    topic: ClassVar[str] = "users"
    key_field: ClassVar[str] = "user_id"

    user_id: UUID
    """The id of the user."""


class ProfileEvent(UserEvent):
    """An event with a user's whole profile."""

    personal: str
    """The e-mail address, name and phone number of the user: a `Contact`, sealed with the user's personal key."""
    locale: str
    """The language of messages to the user, as a BCP 47 tag."""
    time_zone: str
    """The time zone of the user, as a name of the IANA database."""
    email_verified: bool
    """Whether the user has proved that the e-mail address is theirs, or an admin has vouched for it."""


class UserCreated(ProfileEvent):
    """A user was created, by signing up or by an operator."""

    type: ClassVar[str] = "user.created"


class UserUpdated(ProfileEvent):
    """A user's profile changed, or its state is sent again. Replace what you have stored."""

    type: ClassVar[str] = "user.updated"


class AccountMailEvent(UserEvent):
    """An event that asks for one mail, to an address that need not be the user's stored one."""

    personal: str
    """The address of the mail, and its one-time token: an `AccountMail`, sealed with the user's personal key."""
    locale: str
    """The language of the mail, as a BCP 47 tag."""


class OneTimeTokenEvent(AccountMailEvent):
    """An event that asks for a mail with a one-time token."""

    expires_at: datetime
    """The time from which on the token is refused, so that its mail need not be sent."""


class EmailVerificationRequested(OneTimeTokenEvent):
    """A user has to prove that the account's e-mail address is theirs, with the token."""

    type: ClassVar[str] = "user.email_verification_requested"


class EmailChangeRequested(OneTimeTokenEvent):
    """A user wants another e-mail address, and has to prove with the token that it is theirs."""

    type: ClassVar[str] = "user.email_change_requested"


class PasswordResetRequested(OneTimeTokenEvent):
    """Somebody asks for a new password for the account, and can set it with the token."""

    type: ClassVar[str] = "user.password_reset_requested"


class SignUpAttempted(OneTimeTokenEvent):
    """Somebody signed up with the address of an account. Its user can set a new password with the token."""

    type: ClassVar[str] = "user.sign_up_attempted"


class EmailChanged(AccountMailEvent):
    """The e-mail address of an account was changed. The mail goes to the former address; its token is empty."""

    type: ClassVar[str] = "user.email_changed"


class PasswordChanged(UserEvent):
    """The password of an account was changed."""

    type: ClassVar[str] = "user.password_changed"


class SignedInFromNewDevice(UserEvent):
    """A user has signed in with a device from which they had not signed in before."""

    type: ClassVar[str] = "user.signed_in_from_new_device"

    device: str
    """The kind of device, such as "Firefox on Linux": words of a fixed vocabulary, nothing that the device has sent."""
    occurred_at: datetime
    """The time of the sign-in."""


class EmailVerified(UserEvent):
    """A user has proved that the address of the account is theirs."""

    type: ClassVar[str] = "user.email_verified"


class UserPurged(UserEvent):
    """An account whose address was never verified was deleted. Delete what you have stored of the user."""

    type: ClassVar[str] = "user.purged"


class ExportRequested(UserEvent):
    """A user has requested an export of all their data. Answer with what you have stored, also if it is repeated."""

    type: ClassVar[str] = "user.export_requested"

    request_id: UUID
    """The id of the export."""


class ExportReady(UserEvent):
    """The export of a user's data is ready, and can be downloaded by the user until it expires."""

    type: ClassVar[str] = "user.export_ready"

    request_id: UUID
    """The id of the export."""
    expires_at: datetime
    """The time from which on the export can no longer be downloaded."""


class ErasureEvent(UserEvent):
    """An event about the erasure of a user's personal data."""

    request_id: UUID
    """The id of the request, which is also that of its receipt."""


class UserErasureRequested(ErasureEvent):
    """A user's personal data have to be erased, or the answer to that is still missing. Erase, and answer each time.

    The service `orders` answers with `order.customer_erased`, `notifications` with `notification.recipient_erased`.
    """

    type: ClassVar[str] = "user.erasure_requested"


class UserErased(ErasureEvent):
    """A user's personal data were erased everywhere. What is sealed in earlier events of the user cannot be opened."""

    type: ClassVar[str] = "user.erased"


class UserSuspended(UserEvent):
    """The user's account was suspended: the user is signed out, and orders get no credit."""

    type: ClassVar[str] = "user.suspended"

    reason: str
    """The reason that the administrator gave."""


class UserReinstated(UserEvent):
    """The user's suspended account is active again."""

    type: ClassVar[str] = "user.reinstated"


class UserRolesChanged(UserEvent):
    """The user's roles changed."""

    type: ClassVar[str] = "user.roles_changed"

    roles: tuple[str, ...]
    """All roles that the user has now: `customer`, `support` or `admin`."""


class UserCreditLimitChanged(UserEvent):
    """The user's credit limit changed."""

    type: ClassVar[str] = "user.credit_limit_changed"

    limit_cents: int
    """The new limit, in the currency's smallest unit."""
    previous_limit_cents: int
    """The limit before."""
    currency: str
    """The currency, as an ISO 4217 code."""


SecondFactorChange = Literal[
    "totp_added",
    "totp_removed",
    "passkey_added",
    "passkey_removed",
    "recovery_codes_replaced",
    "recovery_code_used",
    "password_removed",
    "all_removed_by_admin",
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

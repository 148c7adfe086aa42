"""Request and response bodies of accounts."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import Field

from services.users.accounts.commands import Profile
from services.users.accounts.fields import Bio, Email, Locale, Name, Phone, TimeZone
from services.users.credentials.fields import NewPassword
from services.users.models.accounts import Role, UserStatus
from shared.http.bodies import RequestBody, ResponseBody

_USER_ID = "0199a6e2-7c1e-7b7c-8a55-0d6b8f4f2c11"
_TIME = "2026-11-23T17:30:00Z"


class NewProfile(RequestBody):
    """The profile of a new user."""

    email: Email
    name: Name
    phone: Phone | None = Field(default=None, examples=["+442071838750"])
    locale: Locale = "en"
    time_zone: TimeZone = "UTC"

    def profile(self) -> Profile:
        """Return the profile as commands take it."""
        return Profile(self.email, self.name, self.phone, self.locale, self.time_zone)


class SignUp(NewProfile):
    """A new user."""

    # Excluded from every dump, and so from the fingerprint that is stored with an Idempotency-Key.
    password: Annotated[NewPassword, Field(exclude=True)]


class SignUpAccepted(ResponseBody):
    """The response to a sign-up that does not tell whether the address is known."""

    email: Annotated[
        str, Field(description="The address that gets a mail on how to continue.", examples=["ada@orderly.example"])
    ]


class ProfileChanges(RequestBody):
    """Changes of a profile. A member that is left out keeps its value."""

    # The defaults are never used, because only members that were sent are read. So null is an error except for two.
    name: Name = Field(default_factory=str)
    phone: Phone | None = Field(default=None, description="null removes it.", examples=["+442071838750"])
    bio: Bio | None = Field(default=None, description="null removes it.", examples=["Mathematician."])
    locale: Locale = Field(default_factory=str)
    time_zone: TimeZone = Field(default_factory=str)


class UserView(ResponseBody):
    """A user."""

    id: Annotated[UUID, Field(examples=[_USER_ID])]
    email: Annotated[str, Field(examples=["ada@orderly.example"])]
    name: Annotated[str, Field(examples=["Ada Lovelace"])]
    phone: Annotated[str | None, Field(examples=["+442071838750"])]
    bio: Annotated[str | None, Field(examples=["Mathematician."])]
    locale: Annotated[str, Field(examples=["en-GB"])]
    time_zone: Annotated[str, Field(examples=["Europe/London"])]
    roles: Annotated[list[Role], Field(examples=[["customer"]])]
    status: Annotated[UserStatus, Field(examples=["active"])]
    email_verified_at: Annotated[datetime | None, Field(examples=[None])]
    created_at: Annotated[datetime, Field(examples=[_TIME])]
    updated_at: Annotated[datetime, Field(examples=[_TIME])]

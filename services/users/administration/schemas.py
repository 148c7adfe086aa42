"""Request bodies of administration."""

from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from services.users.accounts.fields import Reason
from services.users.accounts.schemas import NewProfile
from services.users.credentials.fields import NewPassword
from services.users.models.accounts import Role
from shared.http.bodies import RequestBody


def _without_repeats(roles: list[Role]) -> list[Role]:
    if len(set(roles)) < len(roles):
        raise PydanticCustomError("roles_repeated", "Input should have each role once")
    return roles


class Suspension(RequestBody):
    """The suspension of an account."""

    reason: Reason


class Reinstatement(RequestBody):
    """The reinstatement of a suspended account."""

    reason: Reason


class SecondFactorRemoval(RequestBody):
    """The removal of the second factors that a user has lost."""

    reason: Reason


class Roles(RequestBody):
    """All roles of a user."""

    roles: Annotated[
        list[Role],
        Field(min_length=1, max_length=3, examples=[["customer", "support"]], json_schema_extra={"uniqueItems": True}),
        AfterValidator(_without_repeats),
    ]


class NewVerifiedUser(NewProfile):
    """A new user whose address counts as verified."""

    password: Annotated[
        NewPassword | None,
        Field(
            exclude=True,
            description="If left out, the user sets one by a password reset.",
            examples=["correct horse battery staple"],
        ),
    ] = None

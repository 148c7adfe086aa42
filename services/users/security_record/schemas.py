"""Response bodies of the security record."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field, JsonValue

from services.users.models.security_record import SecurityEvent, SecurityEventKind
from services.users.security_record.commands import ANONYMOUS, SYSTEM
from shared.http.bodies import ResponseBody

_USER_ID = "0199a6e2-7c1e-7b7c-8a55-0d6b8f4f2c11"

Kind = Annotated[SecurityEventKind, Field(description="The kind of event.", examples=["roles_changed"])]
Address = Annotated[str | None, Field(description="Address of the request; null if erased.", examples=["192.0.2.7"])]
UserAgent = Annotated[
    str | None, Field(description="User-Agent of the request; null if erased.", examples=["Mozilla/5.0"])
]
Details = Annotated[
    dict[str, JsonValue],
    Field(
        description="The change, by kind.",
        examples=[{"roles": ["customer", "support"], "previous_roles": ["customer"]}],
    ),
]
Doer = Literal["you", "staff", "system", "anonymous"]


class SecurityEventView(ResponseBody):
    """An entry of the security record."""

    id: Annotated[int, Field(examples=[17])]
    user_id: Annotated[UUID | None, Field(description="The account that it is about.", examples=[_USER_ID])]
    kind: Kind
    actor: Annotated[
        str,
        Field(
            description="The user who acted, an operator such as `ada@ops-1`, `system`, or `anonymous`.",
            examples=[_USER_ID],
        ),
    ]
    address: Address
    user_agent: UserAgent
    details: Details
    occurred_at: datetime


class OwnSecurityEventView(ResponseBody):
    """An entry about your own account."""

    id: Annotated[int, Field(examples=[17])]
    kind: Kind
    actor: Annotated[Doer, Field(description="The side that acted; `anonymous` sent no valid token.", examples=["you"])]
    address: Address
    user_agent: UserAgent
    details: Details
    occurred_at: datetime

    @classmethod
    def of(cls, event: SecurityEvent) -> "OwnSecurityEventView":
        """Make a view for the account's user: it names no member of staff, and shows no address of theirs."""
        actor = _doer(event)
        is_of_staff = actor == "staff"
        return cls(
            id=event.id,
            kind=event.kind,
            actor=actor,
            address=None if is_of_staff else event.address,
            user_agent=None if is_of_staff else event.user_agent,
            details=event.details,
            occurred_at=event.occurred_at,
        )


def _doer(event: SecurityEvent) -> Doer:
    if event.actor == str(event.user_id):
        return "you"
    if event.actor == SYSTEM:
        return "system"
    return "anonymous" if event.actor == ANONYMOUS else "staff"

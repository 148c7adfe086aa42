"""Response bodies of exports: the state of an export, and the document."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AliasChoices, Field

from services.users.models.accounts import Role, UserStatus
from services.users.models.credit import CreditEntryKind, ReservationStatus
from services.users.models.data_export import DataExport, ExportingService
from services.users.models.one_time_tokens import TokenPurpose
from services.users.models.sessions import AuthenticationMethod
from services.users.passkeys.schemas import PasskeyView
from services.users.second_factors.schemas import MethodsView
from services.users.security_record.schemas import OwnSecurityEventView
from shared.events.exported_data import ExportedModel, NotificationsExport, OrdersExport
from shared.http.bodies import ResponseBody

_ID = "0199a6e3-02d4-7f0a-b1c6-6a1f0e2d9b77"
_TIME = "2026-11-23T17:30:00Z"

Cents = Annotated[int, Field(examples=[12_000])]


class ExportView(ResponseBody):
    """The state of an export."""

    id: Annotated[UUID, Field(examples=[_ID])]
    status: Annotated[
        Literal["pending", "ready", "expired"],
        Field(description="`pending` while services are missing; the content can be read while `ready`."),
    ]
    missing: Annotated[
        list[ExportingService], Field(description="Services whose data are not here yet.", examples=[["orders"]])
    ]
    requested_at: Annotated[datetime, Field(examples=[_TIME])]
    ready_at: Annotated[datetime | None, Field(examples=[_TIME])]
    expires_at: Annotated[datetime | None, Field(description="Null while it is pending.", examples=[_TIME])]

    @classmethod
    def of(cls, export: DataExport, *, now: datetime) -> "ExportView":
        """Make a view of an export as of a time."""
        return cls(
            id=export.id,
            status="expired" if export.is_expired(now) else export.status,
            missing=export.missing,
            requested_at=export.requested_at,
            ready_at=export.ready_at,
            expires_at=export.expires_at,
        )


class ExportedProfile(ExportedModel):
    """The account and its profile."""

    id: UUID
    email: Annotated[str, Field(examples=["ada@orderly.example"])]
    name: Annotated[str, Field(examples=["Ada Lovelace"])]
    phone: Annotated[str | None, Field(examples=["+442071838750"])]
    bio: Annotated[str | None, Field(examples=["Mathematician."])]
    locale: Annotated[str, Field(examples=["en-GB"])]
    time_zone: Annotated[str, Field(examples=["Europe/London"])]
    roles: list[Role]
    status: UserStatus
    email_verified_at: datetime | None
    created_at: datetime
    updated_at: datetime


class ExportedCredit(ExportedModel):
    """The credit account."""

    limit_cents: Cents
    reserved_cents: Cents
    used_cents: Cents
    currency: Annotated[str, Field(examples=["GBP"])]


class ExportedCreditEntry(ExportedModel):
    """An entry of the ledger: one change of the credit account, and the balances after it."""

    id: Annotated[int, Field(examples=[4711])]
    kind: CreditEntryKind
    order_id: UUID | None
    reserved_delta_cents: Cents
    used_delta_cents: Cents
    limit_delta_cents: Cents
    reserved_cents: Cents
    used_cents: Cents
    limit_cents: Cents
    reason: Annotated[
        str | None, Field(description="The note of an operator who made the change by hand.", examples=[None])
    ]
    created_at: datetime


class ExportedReservation(ExportedModel):
    """The credit of one order."""

    order_id: UUID
    amount_cents: Cents
    refunded_cents: Cents
    currency: Annotated[str, Field(examples=["GBP"])]
    status: ReservationStatus
    reason: Annotated[str | None, Field(description="The reason for which it was refused.", examples=[None])]
    created_at: datetime
    updated_at: datetime


class ExportedSession(ExportedModel):
    """A sign-in, with the device and the address of its last use."""

    id: UUID
    device: Annotated[str, Field(examples=["Firefox on Linux"])]
    address: Annotated[str | None, Field(examples=["203.0.113.7"])]
    user_agent: Annotated[str | None, Field(examples=["Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Firefox/140.0"])]
    methods: Annotated[list[AuthenticationMethod], Field(validation_alias=AliasChoices("amr", "methods"))]
    authenticated_at: datetime
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
    ends_at: datetime
    revoked_at: datetime | None


class ExportedDevice(ExportedModel):
    """A browser that is known to have signed in."""

    id: UUID
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime


class ExportedMailedLink(ExportedModel):
    """A link that was mailed, without its token."""

    purpose: TokenPurpose
    email: Annotated[str, Field(description="The address that it was sent to.", examples=["ada@orderly.example"])]
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None


class UsersExport(ExportedModel):
    """The data that the users service has of the user."""

    profile: ExportedProfile
    sign_in_methods: MethodsView
    credit: ExportedCredit
    passkeys: list[PasskeyView]
    credit_entries: list[ExportedCreditEntry]
    credit_reservations: list[ExportedReservation]
    sessions: list[ExportedSession]
    known_devices: list[ExportedDevice]
    security_events: list[OwnSecurityEventView]
    mailed_links: list[ExportedMailedLink]


class ExportHeader(ExportedModel):
    """The export that the document belongs to."""

    id: Annotated[UUID, Field(examples=[_ID])]
    user_id: UUID
    requested_at: Annotated[datetime, Field(examples=[_TIME])]
    ready_at: Annotated[datetime, Field(examples=[_TIME])]


class ExportDocument(ExportedModel):
    """Everything that the services have of a user: an object for each service. Lists are oldest first."""

    export: ExportHeader
    users: UsersExport
    orders: OrdersExport
    notifications: NotificationsExport

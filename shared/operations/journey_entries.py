"""The entries of journeys: what happened to an order, each of a kind with members of its own."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field, JsonValue

from shared.http.bodies import ResponseBody
from shared.messaging.dead_letters.reason import DeadLetterReason

_KEY = "0199a6e2-7c1e-7b7c-8a55-0d6b8f4f2c11"
_TYPE = "order.created"

ConsumerOutcome = Literal["applied", "waiting", "dead_letter", "blocked", "discarded", "unknown"]
CreditChange = Literal["reserved", "refused", "released", "used", "refunded", "corrected"]


class Entry(ResponseBody):
    """The members that every entry of a timeline has."""

    time: datetime
    service: str = Field(description="The service that knows it.", examples=["orders"])
    title: str = Field(description="The event, in a sentence.", examples=["The customer placed the order"])
    trace_id: str | None = Field(
        description="The W3C trace in which it happened; null if it is not stored.",
        examples=["4bf92f3577b34da6a3ce929d0e0e4736"],
    )
    event_id: UUID | None = Field(description="The event that it is, or that caused it; null if there is none.")


class RequestDetails(ResponseBody):
    """The request that placed the order."""

    user_id: UUID
    total_cents: int = Field(examples=[1530])
    currency: str = Field(examples=["GBP"])
    items: int = Field(description="Number of different products.", examples=[2])
    units: int = Field(description="The sum of their quantities.", examples=[6])


class OrderDetails(ResponseBody):
    """A change of the order's status, or a refund of a part."""

    status: str = Field(description="The order's status after it.", examples=["confirmed"])
    actor: str = Field(description="`customer`, `support` or `system`.", examples=["system"])
    actor_id: UUID | None = Field(description="The user who did it; null for the system.")
    reason: str | None = Field(examples=["deadline"])
    amount_cents: int | None = Field(description="The refunded amount, if it is a refund.", examples=[None])


class EventConsumer(ResponseBody):
    """The outcome of an event at a consumer."""

    consumer: str = Field(examples=["users.orders"])
    outcome: ConsumerOutcome = Field(
        description="`waiting`: not applied yet. `dead_letter`: it could not be applied. `blocked`: it is queued behind"
        " a dead letter of its key. `unknown`: the consumer's service does not answer, or no longer knows."
    )


class EventDetails(ResponseBody):
    """An event of the outbox."""

    type: str = Field(examples=[_TYPE])
    topic: str = Field(examples=["orders"])
    key: str = Field(examples=[_KEY])
    sequence: int = Field(description="The event's number among the events of its key.", examples=[1])
    state: Literal["waiting", "sent"] = Field(description="`waiting`: in the outbox, not in Kafka yet.")
    recorded_at: datetime
    sent_at: datetime | None = Field(description="Time at which Kafka's acknowledgement was noted; null while waiting.")
    partition: int | None = Field(description="The Kafka partition; null while waiting.", examples=[3])
    offset: int | None = Field(description="The Kafka offset; null while waiting.", examples=[1042])
    consumers: list[EventConsumer] = Field(
        default=[], description="The consumers that handle this type. Filled in the whole journey only."
    )


class CreditDetails(ResponseBody):
    """A change of the customer's credit by the order, or the credit that was refused."""

    change: CreditChange
    amount_cents: int = Field(description="The amount that was reserved, refused, ...", examples=[1530])
    currency: str = Field(examples=["GBP"])
    reason: str | None = Field(
        description="The reason for which it was refused, or an operator's note.", examples=["limit_exceeded"]
    )
    actor: str | None = Field(
        description="The operator who changed it by hand; null if an event did.", examples=["ada@ops-1"]
    )
    reserved_cents: int | None = Field(description="The customer's reserved credit after it.", examples=[1530])
    used_cents: int | None = Field(description="The customer's used credit after it.", examples=[0])
    limit_cents: int | None = Field(description="The customer's limit after it.", examples=[100_000])


class DeadLetterDetails(ResponseBody):
    """An event that could not be applied, or is queued behind one."""

    id: int = Field(examples=[17])
    consumer: str = Field(examples=["orders.users"])
    topic: str = Field(examples=["users"])
    key: str = Field(examples=[_KEY])
    partition: int = Field(examples=[3])
    offset: int = Field(examples=[1042])
    type: str | None = Field(examples=["user.credit_reserved"])
    sequence: int | None = Field(examples=[7])
    reason: DeadLetterReason
    error: str | None = Field(examples=["credit_reply_mismatched"])
    next_try_at: datetime | None = Field(description="Time of the next retry; null if it waits for an operator.")
    resolution: Literal["replayed", "discarded", "expired"] | None = Field(description="Null while it is unresolved.")
    resolved_at: datetime | None


class ActionDetails(ResponseBody):
    """An action of an operator, or of the automatic retries of dead letters."""

    subject: str = Field(description="The kind of what it acted on.", examples=["dead_letter"])
    subject_id: str = Field(examples=["17"])
    action: str = Field(examples=["discard"])
    actor: str = Field(
        description="A user's id, the operator of a command, `drain` or `retention`.", examples=["ada@ops-1"]
    )
    outcome: str | None = Field(examples=["done"])
    note: str | None = Field(examples=["a test order"])


class DeadlineDetails(ResponseBody):
    """The time after which a pending order is cancelled by a job."""

    is_past: bool
    failures: int = Field(description="Failed tries to cancel the order.", examples=[0])
    error: str | None = Field(description="The error of the last try.", examples=[None])
    next_try_at: datetime | None


class NotificationDetails(ResponseBody):
    """A notification of the customer."""

    notification_id: UUID
    type: str = Field(description="Type of the event that it is about.", examples=["order.confirmed"])
    subject: str = Field(examples=["Order O-2K7WQ9X3 is confirmed"])
    read_at: datetime | None = Field(description="Time at which the customer read it in the app.")


class DeliveryDetails(ResponseBody):
    """The state of a notification's delivery on one channel."""

    delivery_id: UUID
    notification_id: UUID
    channel: str = Field(examples=["email"])
    status: str = Field(
        description="`queued`, `sending`, `retrying`, `deferred` (until the address is known and verified), `sent` or"
        " `failed`.",
        examples=["sent"],
    )
    attempts: int = Field(examples=[1])
    last_error: str | None = Field(description="Code of the last error.", examples=["unreachable"])
    reply_code: int | None = Field(
        description="The mail server's reply code at the last failed attempt.", examples=[421]
    )
    first_due_at: datetime | None
    next_attempt_at: datetime | None
    sent_at: datetime | None


class AttemptDetails(ResponseBody):
    """An attempt of a delivery that failed."""

    delivery_id: UUID
    number: int = Field(examples=[1])
    error: str = Field(examples=["recipient_refused"])
    reply_code: int | None = Field(description="The mail server's reply code, if it replied.", examples=[421])


class MailDetails(ResponseBody):
    """A mail that the mail server has accepted. It includes neither its address nor its text."""

    delivery_id: UUID
    subject: str = Field(examples=["Order O-2K7WQ9X3 is confirmed"])
    message_id: str | None = Field(description="The Message-ID.", examples=[f"<{_KEY}@orderly.example>"])
    attempts: int = Field(examples=[1])


class RequestEntry(Entry):
    """The request that placed the order."""

    kind: Literal["request"]
    details: RequestDetails


class OrderEntry(Entry):
    """A change of the order."""

    kind: Literal["order"]
    details: OrderDetails


class EventEntry(Entry):
    """An event that was recorded in the outbox, at the time of its recording."""

    kind: Literal["event"]
    details: EventDetails


class CreditEntry(Entry):
    """A change of the customer's credit."""

    kind: Literal["credit"]
    details: CreditDetails


class DeadLetterEntry(Entry):
    """A dead letter, at the time at which the event became one."""

    kind: Literal["dead_letter"]
    details: DeadLetterDetails


class ActionEntry(Entry):
    """An action of an operator."""

    kind: Literal["action"]
    details: ActionDetails


class DeadlineEntry(Entry):
    """The deadline of an order that is or was pending then. It can lie in the future."""

    kind: Literal["deadline"]
    details: DeadlineDetails


class NotificationEntry(Entry):
    """A notification."""

    kind: Literal["notification"]
    details: NotificationDetails


class DeliveryEntry(Entry):
    """A delivery, at the time at which its notification was made."""

    kind: Literal["delivery"]
    details: DeliveryDetails


class AttemptEntry(Entry):
    """A failed attempt of a delivery."""

    kind: Literal["attempt"]
    details: AttemptDetails


class MailEntry(Entry):
    """A mail that was sent."""

    kind: Literal["mail"]
    details: MailDetails


AnyEntry = Annotated[
    RequestEntry
    | OrderEntry
    | EventEntry
    | CreditEntry
    | DeadLetterEntry
    | ActionEntry
    | DeadlineEntry
    | NotificationEntry
    | DeliveryEntry
    | AttemptEntry
    | MailEntry,
    Field(discriminator="kind"),
]
"""An entry of a timeline; `kind` says of which kind."""

EXAMPLE: dict[str, JsonValue] = {
    "kind": "order",
    "time": "2026-11-23T10:00:00.123Z",
    "service": "orders",
    "title": "The order was refunded in part",
    "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    "event_id": _KEY,
    # Without nulls, which FastAPI leaves out of examples.
    "details": {"status": "shipped", "actor": "support", "actor_id": _KEY, "reason": "damaged", "amount_cents": 500},
}
"""An entry for the documentation."""

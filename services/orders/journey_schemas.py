"""Response bodies of an order's journey over all services."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import Field

from services.orders.models import OrderStatus
from shared.http.bodies import ResponseBody
from shared.operations.advice import Advice
from shared.operations.journey_entries import EXAMPLE, AnyEntry
from shared.operations.journey_schemas import ConsumerState, RelayState

State = Literal["done", "in_progress", "stuck"]
Cause = Literal[
    "completed",
    "credit_refused",
    "cancelled",
    "under_way",
    "waits_for_address",
    "relay_away",
    "kafka_away",
    "dead_letter",
    "consumer_stopped",
    "service_unavailable",
    "mail_retrying",
    "mail_failed",
    "overdue",
    "unknown",
]


class Verdict(ResponseBody):
    """Whether an order is done, in progress or stuck; why; and what helps."""

    state: State
    cause: Cause = Field(
        description="`under_way`: everything happens in time. `waits_for_address`: a mail waits until the customer's"
        " address is known and verified. `relay_away`, `kafka_away`: events wait in an outbox. `dead_letter`: an event"
        " could not be applied. `consumer_stopped`: an event is in Kafka and was not applied in time."
        " `service_unavailable`: a service that has to act does not answer. `overdue`: the order is past its deadline"
        " and was not cancelled."
    )
    reason: str = Field(
        description="The reason, in a sentence.",
        examples=[
            "The order waits for its credit: order.created has been in the outbox of orders for 42 s; no relay leads."
        ],
    )
    service: str | None = Field(description="The service in which it is stuck.", examples=["orders"])
    event_id: UUID | None = Field(description="The event at which it is stuck; null if it is not at an event.")
    since: datetime | None = Field(description="The time since when; null if nothing is to happen any more.")
    advice: Advice | None = Field(description="The action that helps; null if none is needed.")


class ServicePart(ResponseBody):
    """The contribution of a service to the journey."""

    service: str = Field(examples=["users"])
    state: Literal["complete", "cut", "unavailable"] = Field(
        description="`cut`: it has more entries than are shown. `unavailable`: it did not answer."
    )
    reason: str | None = Field(description="The reason for which it is unavailable.", examples=["timed out"])
    relay: RelayState | None = Field(description="The state of its outbox; null if it is unavailable.")


class JourneyView(ResponseBody):
    """The journey of one order through all services."""

    order_id: UUID
    number: str = Field(examples=["O-2K7WQ9X3"])
    status: OrderStatus
    user_id: UUID
    trace_id: str | None = Field(
        description="The trace of the request that placed the order; null if its event is no longer kept.",
        examples=["4bf92f3577b34da6a3ce929d0e0e4736"],
    )
    placed_at: datetime
    deadline: datetime = Field(description="An order that is still pending then is cancelled.")
    verdict: Verdict
    services: list[ServicePart]
    consumers: list[ConsumerState] = Field(description="Every consumer's state for the keys that matter to the order.")
    entries: list[AnyEntry] = Field(description="The timeline, oldest first.", examples=[[EXAMPLE]])

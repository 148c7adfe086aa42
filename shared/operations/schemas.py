"""Request and response bodies of the admin routes."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue

from shared.messaging.dead_letter import ParkReason
from shared.messaging.outbox_resend import OutboxStatus
from shared.messaging.parked_events import ParkedDetail, ParkedEvent, ParkedFilter
from shared.operations.parked import KeyOutcome
from shared.operations.runs import Operation

_KEY = "0199a6e2-7c1e-7b7c-8a55-0d6b8f4f2c11"
MAX_ID = 2**63 - 1

ParkedId = Annotated[int, Field(ge=1, le=MAX_ID, examples=[17])]
Text = Annotated[str, Field(max_length=500, pattern=r"^[^\x00]*$")]
KeyLimit = Annotated[int, Field(ge=1, le=1000, description="At most so many keys, the oldest first.", examples=[10])]


class ParkedEventView(BaseModel):
    """An event that could not be applied, or waits behind one."""

    model_config = ConfigDict(from_attributes=True)

    id: ParkedId
    consumer: str = Field(examples=["orders.users"])
    topic: str = Field(examples=["users"])
    partition: int = Field(examples=[3])
    offset: int = Field(examples=[1042])
    key: str = Field(examples=[_KEY])
    event_id: UUID | None = Field(description="Null when its envelope could not be read.")
    type: str | None = Field(examples=["user.credit_reserved"])
    sequence: int | None = Field(description="Its place among the events of its key.", examples=[7])
    reason: ParkReason
    error: str | None = Field(examples=["not_wanted: The order is not known"])
    parked_at: datetime
    resolution: Literal["replayed", "discarded"] | None = Field(description="Null while it waits.")
    resolved_at: datetime | None

    @classmethod
    def of_columns(cls, *columns: Any) -> "ParkedEventView":
        """From what `waiting_events` selects."""
        return cls.model_validate(ParkedEvent(*columns))


class ParkedActionView(BaseModel):
    """What somebody did about a parked event."""

    actor: str = Field(description="A user's id, an operator of the tool, or `drain`.", examples=["ada@ops-1"])
    action: Literal["replay", "discard"]
    outcome: Literal["done", "failed"]
    detail: str | None = Field(examples=["a test order"])
    acted_at: datetime


class ParkedEventDetails(ParkedEventView):
    """A parked event whole, with everything that was done about it."""

    headers: dict[str, str] = Field(examples=[{"ce_type": "user.credit_reserved"}])
    payload: str = Field(description="The data; what is not UTF-8 is escaped.", examples=['{"order_id": "0199..."}'])
    actions: list[ParkedActionView]

    @classmethod
    def of(cls, parked: ParkedDetail) -> "ParkedEventDetails":
        """As people and programs read it."""
        event = ParkedEventView.model_validate(parked.event)
        payload = parked.payload.decode("utf-8", "backslashreplace")
        actions = [ParkedActionView.model_validate(action) for action in parked.actions]
        return cls(**event.model_dump(), headers=parked.headers, payload=payload, actions=actions)


class ParkedSelection(BaseModel):
    """Which waiting events are meant; what is left out does not matter."""

    model_config = ConfigDict(extra="forbid")

    consumer: Text | None = Field(None, examples=["orders.users"])
    key: Text | None = Field(None, examples=[_KEY])
    type: Text | None = Field(None, examples=["user.credit_reserved"])
    parked_for: ParkReason | None = Field(None, description="The reason for which it was parked.")
    id: ParkedId | None = Field(None, examples=[17])

    @property
    def as_filter(self) -> ParkedFilter:
        """For the queries."""
        return ParkedFilter(consumer=self.consumer, key=self.key, type=self.type, reason=self.parked_for, id=self.id)


class ReplayRequest(ParkedSelection):
    """Keys are applied whole: those with an event that is meant."""

    all: bool = Field(False, description="Every key; else something must be selected.")
    limit: KeyLimit = 100
    dry_run: bool = Field(False, description="Only say what would be tried.")


class KeyView(BaseModel):
    """One key that stands still, and what became of it."""

    consumer: str = Field(examples=["orders.users"])
    topic: str = Field(examples=["users"])
    key: str = Field(examples=[_KEY])
    waiting: int = Field(description="Events that waited when it was looked at.", examples=[3])
    first: ParkedEventView
    applied: int = Field(examples=[2])
    stopped_by: ParkedId | None = Field(description="The event that failed again; null when none did.", examples=[17])
    why: str | None = Field(examples=["not_wanted: The order is not known"])

    @classmethod
    def of(cls, outcome: KeyOutcome) -> "KeyView":
        """As people and programs read it."""
        key = outcome.key
        return cls(
            consumer=key.consumer,
            topic=key.topic,
            key=key.key,
            waiting=key.waiting,
            first=ParkedEventView.model_validate(key.first),
            applied=outcome.applied,
            stopped_by=outcome.stopped_by.id if outcome.stopped_by else None,
            why=outcome.why,
        )


class ReplayReport(BaseModel):
    """What was applied, key by key."""

    dry_run: bool
    applied: int = Field(examples=[2])
    keys: list[KeyView]


class DiscardRequest(ParkedSelection):
    """Either `ids`, or a selection."""

    reason: Annotated[Text, Field(min_length=1, description="Why; it stays on record.", examples=["a test order"])]
    ids: list[ParkedId] = Field(default=[], max_length=1000, examples=[[17, 18]])
    limit: Annotated[int, Field(ge=1, le=1000, description="At most so many, the oldest first.", examples=[10])] = 100
    dry_run: bool = Field(False, description="Only say what would be discarded.")


class DiscardReport(BaseModel):
    """What was given up."""

    dry_run: bool
    events: list[ParkedEventView]
    drained: int = Field(description="Events that had only waited behind these, and are applied now.", examples=[2])


class LeaseView(BaseModel):
    """Who sends a shard of the outbox, or did last."""

    model_config = ConfigDict(from_attributes=True)

    shard: int = Field(examples=[0])
    owner: str = Field(examples=["9d3f0a52-5f2f-4f0e-9a3b-2f2f8f3c6c11"])
    epoch: int = Field(description="Rises with every new leader.", examples=[4])
    expires_at: datetime
    is_held: bool


class OutboxStatusView(BaseModel):
    """What waits to be sent, what was sent, and who sends."""

    waiting: int = Field(examples=[0])
    oldest_age_seconds: float | None = Field(description="Null when nothing waits.", examples=[0.2])
    sent_kept: int = Field(description="Sent events that can be sent again; an estimate.", examples=[120_000])
    leases: list[LeaseView]

    @classmethod
    def of(cls, status: OutboxStatus) -> "OutboxStatusView":
        """As people and programs read it."""
        age = status.oldest_age.total_seconds() if status.oldest_age is not None else None
        leases = [LeaseView.model_validate(lease) for lease in status.leases]
        return cls(waiting=status.waiting, oldest_age_seconds=age, sent_kept=status.sent_kept, leases=leases)


class ResendRequest(BaseModel):
    """Which sent events are to be sent again."""

    model_config = ConfigDict(extra="forbid")

    since: AwareDatetime = Field(description="When they were sent at the earliest.", examples=["2026-11-23T10:00:00Z"])
    topic: Text | None = Field(None, examples=["orders"])
    key: Text | None = Field(None, examples=[_KEY])
    limit: int | None = Field(None, ge=1, description="At most so many, the oldest first.", examples=[1000])
    dry_run: bool = Field(False, description="Only count them.")


class RepublicationRequest(BaseModel):
    """Which states are to be sent again."""

    model_config = ConfigDict(extra="forbid")

    types: list[Text] = Field(
        default=[], max_length=20, description="None named: all that the service has.", examples=[["users"]]
    )
    since: AwareDatetime | None = Field(None, description="Only what has changed since, where that time is kept.")


class OperationView(BaseModel):
    """An operation, and how far it is."""

    id: UUID
    kind: Literal["resend", "republication"]
    actor: str = Field(examples=["ada@ops-1"])
    parameters: dict[str, JsonValue] = Field(examples=[{"types": ["users"], "since": None}])
    status: Literal["running", "done", "stopped"]
    total: int = Field(description="Events to send, as counted at the start.", examples=[1000])
    done: int = Field(examples=[400])
    error: str | None = Field(description="Why it does not move; it is tried again.", examples=["TimeoutError()"])
    started_at: datetime
    moved_at: datetime

    @classmethod
    def of(cls, operation: Operation) -> "OperationView":
        """Without its pages, which are nobody's business."""
        shown = {name: value for name, value in operation.parameters.items() if name != "last_ids"}
        return cls.model_validate({**vars(operation), "parameters": shown})


class ResendReport(BaseModel):
    """How many events are meant, and the operation that sends them; null after a dry run."""

    events: int = Field(examples=[1000])
    operation: OperationView | None

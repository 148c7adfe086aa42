"""Request and response bodies of the admin routes."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue

from shared.http.bodies import RequestBody
from shared.messaging.dead_letters.queries import DeadLetter, DeadLetterDetail, DeadLetterFilter
from shared.messaging.dead_letters.reason import DeadLetterReason
from shared.messaging.outbox.resend import OutboxStatus
from shared.operations.dead_letters import Discarded, KeyOutcome
from shared.operations.runs import Operation

_KEY = "0199a6e2-7c1e-7b7c-8a55-0d6b8f4f2c11"
_ERROR = "amount_invalid: The amount is out of range"
MAX_ID = 2**53 - 1
"""The largest integer that is exact in every JSON parser. The database would take larger ones."""

DeadLetterId = Annotated[int, Field(ge=1, le=MAX_ID, examples=[17])]
Text = Annotated[str, Field(max_length=500, pattern=r"^[^\x00]*$")]
KeyLimit = Annotated[
    int, Field(ge=1, le=1000, description="At most this many keys, longest blocked first.", examples=[10])
]


class DeadLetterView(BaseModel):
    """An event that could not be applied, or is queued behind one."""

    model_config = ConfigDict(from_attributes=True)

    id: DeadLetterId
    consumer: str = Field(examples=["orders.users"])
    topic: str = Field(examples=["users"])
    partition: int = Field(description="The Kafka partition.", examples=[3])
    offset: int = Field(description="The Kafka offset.", examples=[1042])
    key: str = Field(examples=[_KEY])
    event_id: UUID | None = Field(description="Null if the event's envelope could not be read.")
    type: str | None = Field(examples=["user.credit_reserved"])
    sequence: int | None = Field(description="The event's number among the events of its key.", examples=[7])
    reason: DeadLetterReason = Field(description="Reason for which the event was not applied.")
    error: str | None = Field(examples=[_ERROR])
    dead_lettered_at: datetime
    resolution: Literal["replayed", "discarded", "expired"] | None = Field(description="Null while it is unresolved.")
    resolved_at: datetime | None

    @classmethod
    def of_columns(cls, *columns: Any) -> "DeadLetterView":
        """Make a view of the columns that `unresolved_dead_letters` selects."""
        return cls.model_validate(DeadLetter(*columns))


class DeadLetterActionView(BaseModel):
    """An action taken on a dead letter."""

    actor: str = Field(
        description="A user's id, the operator who ran the command, `drain` or `retention`.", examples=["ada@ops-1"]
    )
    action: Literal["replay", "discard", "expire"]
    outcome: Literal["done", "failed"]
    detail: str | None = Field(examples=["a test order"])
    acted_at: datetime


class DeadLetterDetailView(DeadLetterView):
    """A dead letter with its headers, its payload, and all actions taken on it."""

    headers: dict[str, str] = Field(examples=[{"ce_type": "user.credit_reserved"}])
    payload: str = Field(
        description="The event's data; bytes that are not UTF-8 are escaped.", examples=['{"order_id": "0199..."}']
    )
    actions: list[DeadLetterActionView]

    @classmethod
    def of(cls, detail: DeadLetterDetail) -> "DeadLetterDetailView":
        """Make a view of a dead letter."""
        summary = DeadLetterView.model_validate(detail.dead_letter)
        payload = detail.payload.decode("utf-8", "backslashreplace")
        actions = [DeadLetterActionView.model_validate(action) for action in detail.actions]
        return cls(**summary.model_dump(), headers=detail.headers, payload=payload, actions=actions)


class DeadLetterSelection(RequestBody):
    """A selection of unresolved dead letters. A member that is left out selects any."""

    consumer: Text | None = Field(None, examples=["orders.users"])
    key: Text | None = Field(None, examples=[_KEY])
    type: Text | None = Field(None, examples=["user.credit_reserved"])
    reason: DeadLetterReason | None = Field(None, description="Reason for which the event was not applied.")
    id: DeadLetterId | None = Field(None, examples=[17])

    @property
    def as_filter(self) -> DeadLetterFilter:
        """The selection as the queries take it."""
        return DeadLetterFilter(consumer=self.consumer, key=self.key, type=self.type, reason=self.reason, id=self.id)


class ReplayRequest(DeadLetterSelection):
    """A selection of keys to replay: each that a selected dead letter blocks, with all that block it.

    With an id or a reason it may also select dead letters that block no key.
    """

    all: bool = Field(False, description="Replay every blocked key. Required if nothing is selected.")
    limit: KeyLimit = 100
    dry_run: bool = Field(False, description="Only return the keys that would be replayed.")


class KeyReplayView(BaseModel):
    """A blocked key, or one dead letter that blocks no key, and the outcome of its replay."""

    consumer: str = Field(examples=["orders.users"])
    topic: str = Field(examples=["users"])
    key: str = Field(examples=[_KEY])
    dead_letters: int = Field(description="Number of the key's dead letters before the replay.", examples=[3])
    first: DeadLetterView
    applied: int = Field(description="Number of its events that were applied.", examples=[2])
    stopped_by: DeadLetterId | None = Field(
        description="The dead letter that failed again; null if none did.", examples=[17]
    )
    error: str | None = Field(description="Error with which it failed again.", examples=[_ERROR])

    @classmethod
    def of(cls, outcome: KeyOutcome) -> "KeyReplayView":
        """Make a view of one key's outcome."""
        key, replay = outcome.replayable, outcome.replay
        return cls(
            **key.consumer_key._asdict(),
            dead_letters=key.count,
            first=DeadLetterView.model_validate(key.first),
            applied=replay.applied,
            stopped_by=replay.stopped_by.id if replay.stopped_by else None,
            error=replay.error,
        )


class ReplayView(BaseModel):
    """The outcome of a replay, key by key."""

    dry_run: bool
    applied: int = Field(description="Number of events that were applied.", examples=[2])
    keys: list[KeyReplayView]

    @classmethod
    def of(cls, outcomes: Sequence[KeyOutcome], *, dry_run: bool) -> "ReplayView":
        """Make a view of all keys' outcomes."""
        applied = sum(outcome.replay.applied for outcome in outcomes)
        return cls(dry_run=dry_run, applied=applied, keys=[KeyReplayView.of(outcome) for outcome in outcomes])


class DiscardRequest(DeadLetterSelection):
    """A selection of dead letters to discard: either those with the given `ids`, or those selected."""

    note: Annotated[Text, Field(min_length=1, description="Reason, for the record.", examples=["a test order"])]
    ids: list[DeadLetterId] = Field(default=[], max_length=1000, examples=[[17, 18]])
    limit: Annotated[int, Field(ge=1, le=1000, description="At most this many, oldest first.", examples=[10])] = 100
    dry_run: bool = Field(False, description="Only return the dead letters that would be discarded.")


class DiscardView(BaseModel):
    """The dead letters that were discarded."""

    dry_run: bool
    dead_letters: list[DeadLetterView]
    drained: int = Field(
        description="Number of events that only these had blocked, and that were applied.", examples=[2]
    )

    @classmethod
    def of(cls, done: Discarded, *, dry_run: bool) -> "DiscardView":
        """Make a view of a discard."""
        views = [DeadLetterView.model_validate(each) for each in done.dead_letters]
        return cls(dry_run=dry_run, dead_letters=views, drained=done.drained)


class LeaseView(BaseModel):
    """The lease of a shard of the outbox: which relay leads the shard, or led it last."""

    model_config = ConfigDict(from_attributes=True)

    shard: int = Field(examples=[0])
    owner: str = Field(examples=["9d3f0a52-5f2f-4f0e-9a3b-2f2f8f3c6c11"])
    epoch: int = Field(description="Rises with every new leader.", examples=[4])
    expires_at: datetime
    is_held: bool


class OutboxStatusView(BaseModel):
    """The number of waiting events, of kept sent events, and the relays' leases."""

    waiting: int = Field(
        description="Number of events that wait to be published; at most 100,000 are counted.", examples=[0]
    )
    oldest_age_seconds: float | None = Field(
        description="Age of the oldest waiting event; null if none waits.", examples=[0.2]
    )
    sent_kept: int = Field(description="Number of sent events that can be resent; an estimate.", examples=[120_000])
    leases: list[LeaseView]

    @classmethod
    def of(cls, status: OutboxStatus) -> "OutboxStatusView":
        """Make a view of the outbox's state."""
        age = status.oldest_age.total_seconds() if status.oldest_age is not None else None
        leases = [LeaseView.model_validate(lease) for lease in status.leases]
        return cls(waiting=status.waiting, oldest_age_seconds=age, sent_kept=status.sent_kept, leases=leases)


class ResendRequest(RequestBody):
    """A selection of sent events to resend."""

    since: AwareDatetime = Field(
        description="Resend events sent at or after this time.", examples=["2026-11-23T10:00:00Z"]
    )
    topic: Text | None = Field(None, examples=["orders"])
    key: Text | None = Field(None, examples=[_KEY])
    limit: int | None = Field(
        None, ge=1, le=MAX_ID, description="At most this many events, oldest first.", examples=[1000]
    )
    dry_run: bool = Field(False, description="Only return how many events would be resent.")


class RepublicationRequest(RequestBody):
    """A selection of aggregates to republish."""

    types: list[Text] = Field(
        default=[],
        max_length=20,
        description="The types to republish; every type of the service if empty.",
        examples=[["users"]],
    )
    since: AwareDatetime | None = Field(
        None, description="Republish only aggregates changed at or after this time, if the service stores it."
    )


class OperationView(BaseModel):
    """A resend or a republication, and its progress."""

    id: UUID
    kind: Literal["resend", "republication"]
    actor: str = Field(examples=["ada@ops-1"])
    parameters: dict[str, JsonValue] = Field(examples=[{"types": ["users"], "since": None}])
    status: Literal["running", "done", "stopped"]
    total: int | None = Field(
        description="Number of events to send; null while it is unknown, as for a resend until its end.",
        examples=[1000],
    )
    done: int = Field(description="Number of events sent so far.", examples=[400])
    error: str | None = Field(description="Error that stops its progress; it is retried.", examples=["TimeoutError()"])
    started_at: datetime
    moved_at: datetime

    @classmethod
    def of(cls, operation: Operation) -> "OperationView":
        """Make a view of an operation."""
        return cls.model_validate(vars(operation))


class ResendView(BaseModel):
    """The outcome of a dry run, or the operation that resends the events."""

    events: int | None = Field(description="Number of events that a dry run counted; else null.", examples=[1000])
    is_complete: bool | None = Field(
        description="Whether the dry run counted all events. It stops after about 20 seconds.", examples=[True]
    )
    operation: OperationView | None = Field(description="Null after a dry run.")

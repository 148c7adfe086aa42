"""The bodies of journeys: what one service knows of an order, and the state of its consumers and its relay."""

from pydantic import Field

from shared.http.bodies import ResponseBody
from shared.operations.journey_entries import EXAMPLE, AnyEntry

_KEY = "0199a6e2-7c1e-7b7c-8a55-0d6b8f4f2c11"


class ConsumerState(ResponseBody):
    """A consumer's position in a key that matters to the order."""

    consumer: str = Field(examples=["users.orders"])
    topic: str = Field(examples=["orders"])
    key: str = Field(examples=[_KEY])
    handles: list[str] = Field(
        description="The types that it applies; it ignores others.", examples=[["order.created"]]
    )
    sequence: int | None = Field(description="The last sequence of these types that it has seen.", examples=[1])
    partition: int | None = Field(examples=[3])
    offset: int | None = Field(examples=[1042])
    dead_letters: int = Field(description="Number of dead letters that block the key.", examples=[0])
    problem: str | None = Field(
        description="The consumer's problem in the process that answers; null if it is healthy, or runs in"
        " another process.",
        examples=["not in its group"],
    )


class RelayState(ResponseBody):
    """The state of a service's outbox and of the relay that sends its events to Kafka."""

    waiting: int = Field(description="Events in the outbox; at most 100,000 are counted.", examples=[0])
    oldest_age_seconds: float | None = Field(description="Age of the oldest of them.", examples=[None])
    has_leader: bool = Field(description="Whether a relay leads, for every part of the outbox.")
    kafka_problem: str | None = Field(
        description="The reason for which Kafka cannot be reached. Checked only if an event of the order waits.",
        examples=[None],
    )


class JourneyPart(ResponseBody):
    """The part of an order's journey that one service knows."""

    service: str = Field(examples=["users"])
    entries: list[AnyEntry] = Field(description="Oldest first.", examples=[[EXAMPLE]])
    is_cut: bool = Field(description="Whether the service knows more entries than it returns.")
    consumers: list[ConsumerState]
    relay: RelayState

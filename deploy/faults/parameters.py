"""The parameters of the faults."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Service = Literal["users", "orders", "notifications"]
ConsumedTopic = Literal["users", "orders", "notifications"]
PoisonKind = Literal["undecodable", "foreign", "invalid", "blocked_key"]


class NoParameters(BaseModel):
    """The parameters of a fault that has none."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class OfService(NoParameters):
    """The service, or the one whose database it is."""

    service: Service = "orders"


class Suspension(OfService):
    """A service, and the time for which it is suspended."""

    seconds: Annotated[float, Field(ge=1, le=120)] = 15


class Cuts(OfService):
    """A service, and how many of its commits are cut."""

    times: Annotated[int, Field(ge=1, le=20)] = 1


class Outage(NoParameters):
    """The time for which something is away."""

    seconds: Annotated[float, Field(ge=1, le=300)] = 20


class Poison(NoParameters):
    """Records that no consumer can apply."""

    topic: ConsumedTopic = "orders"
    kind: PoisonKind = "invalid"
    count: Annotated[int, Field(ge=1, le=50)] = 1

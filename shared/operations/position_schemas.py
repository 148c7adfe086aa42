"""Request and response bodies of the admin routes for positions."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from shared.http.bodies import RequestBody
from shared.messaging.envelope import MAX_KEY_LENGTH, MAX_SEQUENCE

_KEY = "0199a6e2-7c1e-7b7c-8a55-0d6b8f4f2c11"


ConsumerName = Annotated[str, Field(max_length=100, pattern=r"^[^\x00]*$", examples=["orders.users"])]
Key = Annotated[str, Field(max_length=MAX_KEY_LENGTH, pattern=r"^[^\x00]*$", examples=[_KEY])]
Sequence = Annotated[int, Field(ge=0, le=MAX_SEQUENCE, examples=[7])]
NewSequence = Annotated[int, Field(ge=0, le=2**53 - 1, examples=[7])]
"""A sequence that is exact in every JSON parser."""


class PositionActionView(BaseModel):
    """A reset of a position."""

    model_config = ConfigDict(from_attributes=True)

    actor: str = Field(description="A user's id, or the operator who ran the command.", examples=["ada@ops-1"])
    before: Sequence = Field(description="The sequence before the reset.", examples=[9_223_372_036_854_775_807])
    after: Sequence = Field(description="The sequence after the reset.")
    note: str = Field(examples=["a forged event had moved it"])
    acted_at: datetime


class PositionView(BaseModel):
    """A consumer's position in a key: it applies later events only, in their order."""

    model_config = ConfigDict(from_attributes=True)

    consumer: str = Field(examples=["orders.users"])
    topic: str = Field(examples=["users"])
    key: str = Field(examples=[_KEY])
    sequence: Sequence = Field(description="The last sequence that the consumer has seen of the types it handles.")
    dead_letters: int = Field(description="Number of dead letters that block the key.", examples=[0])
    actions: list[PositionActionView] = Field(description="The resets of the last 90 days.")


class PositionReset(RequestBody):
    """A new sequence for a consumer's position in a key."""

    consumer: ConsumerName
    key: Key
    to: NewSequence = Field(0, description="The sequence of the last event that counts as seen; 0 if none does.")
    note: Annotated[
        str,
        Field(
            min_length=1,
            max_length=500,
            pattern=r"^[^\x00]*$",
            description="Reason, for the record.",
            examples=["a forged event had moved it"],
        ),
    ]

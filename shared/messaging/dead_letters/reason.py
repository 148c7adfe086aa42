"""The reasons for which events become dead letters."""

from enum import StrEnum


class DeadLetterReason(StrEnum):
    """The reason for which an event was not applied.

    Anybody who can write to the topic can send a record whose envelope cannot be read, or that has another source. Its
    key says nothing then, so it must not block that key.
    """

    UNDECODABLE = "undecodable"
    """The envelope could not be read. Blocks no key."""
    FOREIGN = "foreign"
    """The source is not the service that produces the topic. Blocks no key."""
    INVALID = "invalid"
    """The data does not match the event's schema."""
    RULE_VIOLATED = "rule_violated"
    """A rule of the service raised a Problem."""
    RETRYING = "retrying"
    """The handler raised an unexpected error; the drain retries the event with backoff."""
    RETRIES_EXHAUSTED = "retries_exhausted"
    """The drain has used up its retries; an operator has to look."""
    TOO_OLD = "too_old"
    """The inbox keeps no ids of the event's day: the day is past its retention, or later than tomorrow."""
    OUT_OF_ORDER = "out_of_order"
    """A later event of the key was applied before it."""
    BLOCKED = "blocked"
    """An earlier dead letter of the key blocks it."""

    @property
    def blocks_key(self) -> bool:
        """Return whether later events of the key queue behind such a dead letter."""
        return self not in NOT_BLOCKING


NOT_BLOCKING = frozenset({DeadLetterReason.UNDECODABLE, DeadLetterReason.FOREIGN})
"""The reasons of dead letters that stand alone: they belong to no key's order."""

"""The reasons for which events become dead letters."""

from enum import StrEnum


class DeadLetterReason(StrEnum):
    """The reason for which an event was not applied."""

    UNDECODABLE = "undecodable"
    """The envelope could not be read."""
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

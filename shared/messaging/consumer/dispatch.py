"""Dispatch: decode an event for its handler, run the handler, classify the error of an event that was not applied."""

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from shared.error_descriptions import describe_error
from shared.errors import Problem
from shared.messaging.consumer.subscription import Handling, Subscription
from shared.messaging.dead_letters.reason import DeadLetterReason
from shared.messaging.envelope import EventContext, Received
from shared.telemetry import continued_trace

DecodedEvent = tuple[Any, EventContext]


class NotApplicable(Exception):
    """The event can never be applied as it is."""

    def __init__(self, reason: DeadLetterReason, error: str) -> None:
        super().__init__(error)
        self.reason = reason
        self.error = error


def trusted_context(event: Received, subscription: Subscription) -> EventContext:
    """Return the context of an event from the topic's producer.

    Raises: NotApplicable if its envelope could not be decoded, or names another source.
    """
    if event.context is None:
        raise NotApplicable(DeadLetterReason.UNDECODABLE, event.error or "unreadable")
    if event.context.source != subscription.source:
        raise NotApplicable(DeadLetterReason.FOREIGN, f"the source is not {subscription.source}")
    return event.context


def decode(event: Received, context: EventContext, handling: Handling) -> DecodedEvent:
    """Validate the event's data against its class. Raises: NotApplicable."""
    try:
        data = handling.event_classes[context.type].model_validate_json(event.value)
    except ValidationError as invalid:
        raise NotApplicable(DeadLetterReason.INVALID, _summary(invalid)) from invalid
    if data.key != event.key:
        raise NotApplicable(DeadLetterReason.INVALID, "the record's key is not the event's key")
    return data, context


async def dispatch(session: AsyncSession, *, handling: Handling, events: Sequence[DecodedEvent]) -> None:
    """Run a handler for events in their order: one by one, each in its trace, or all in one call, outside their traces.

    Raises: NotApplicable instead of the handler's Problem; whatever else the handler raises.
    """
    try:
        if handling.takes_batch:
            await handling.handler(session, events)
            return
        for data, context in events:
            with continued_trace(context.traceparent, tracestate=context.tracestate):
                await handling.handler(session, data, context)
    except Problem as problem:
        error = f"{problem.code}: {problem.detail or problem.title}"
        raise NotApplicable(DeadLetterReason.RULE_VIOLATED, error) from problem


def classify(error: Exception) -> tuple[DeadLetterReason, str]:
    """Return the reason for which an event whose dispatch raised `error` becomes a dead letter, and the error in words.

    An error of the handler itself may go away, so the drain retries it.
    """
    if isinstance(error, NotApplicable):
        return error.reason, error.error
    return DeadLetterReason.RETRYING, describe_error(error)


def _summary(invalid: ValidationError) -> str:
    """List where the data is wrong and why, without the values: they may be personal."""
    return "; ".join(f"{'.'.join(map(str, e['loc'])) or 'body'}: {e['type']}" for e in invalid.errors())

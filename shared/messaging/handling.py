"""Running a subscription's handlers: the data read, the trace continued, what can never be applied told apart."""

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from shared.errors import Refusal
from shared.events.contract import Event
from shared.messaging.dead_letter import ParkReason
from shared.messaging.envelope import EventContext, Received
from shared.messaging.subscription import Handling, Subscription
from shared.telemetry import continued_trace


class PoisonError(Exception):
    """An event that can never be applied as it is."""

    def __init__(self, reason: ParkReason, error: str) -> None:
        super().__init__(error)
        self.reason = reason
        self.error = error


class HandlerFailed(Exception):
    """A handler could not apply these events, by their offsets, or one of them; the cause says why."""

    def __init__(self, offsets: set[int]) -> None:
        super().__init__(f"at offsets {sorted(offsets)}")
        self.offsets = offsets


async def apply_event(
    session: AsyncSession, *, subscription: Subscription, event: Received, context: EventContext
) -> None:
    """Run the handler of one event, if there is one.

    Raises: PoisonError, and what the handler raises besides refusals.
    """
    handling = subscription.handling_of(context.type)
    if handling is not None:
        data = data_of(event, handling.event_classes[context.type])
        await hand_over(session, handling=handling, events=[(data, context)])


async def hand_over(session: AsyncSession, *, handling: Handling, events: Sequence[tuple[Any, EventContext]]) -> None:
    """Run one handler for events in their order. Raises: as `apply_event`."""
    try:
        if handling.takes_many:
            await handling.handler(session, events)
            return
        for data, context in events:
            with continued_trace(context.traceparent, tracestate=context.tracestate):
                await handling.handler(session, data, context)
    except Refusal as refusal:
        raise PoisonError(ParkReason.REFUSED, f"{refusal.code}: {refusal.detail or refusal.title}") from refusal


def verdict_on(fault: Exception) -> tuple[ParkReason, str]:
    """Why an event is parked that failed with `fault`; a handler's own fault may pass, and is tried again."""
    if isinstance(fault, PoisonError):
        return fault.reason, fault.error
    return ParkReason.RETRYING, repr(fault)


def data_of(event: Received, event_class: type[Event]) -> Any:
    """An `event_class` of what the record holds. Raises: PoisonError."""
    try:
        data = event_class.model_validate_json(event.value)
    except ValidationError as invalid:
        raise PoisonError(ParkReason.INVALID, _summary(invalid)) from invalid
    if data.key != event.key:
        raise PoisonError(ParkReason.INVALID, "the record's key is not the event's key")
    return data


def _summary(invalid: ValidationError) -> str:
    """Where and why, without the values: they may be personal."""
    return "; ".join(f"{'.'.join(map(str, e['loc'])) or 'body'}: {e['type']}" for e in invalid.errors())

"""The entries that a journey has of the messaging tables' rows."""

from typing import Any

import sqlalchemy as sa

from shared.operations.events import RecordedEvent
from shared.operations.journey_entries import (
    ActionDetails,
    ActionEntry,
    DeadLetterDetails,
    DeadLetterEntry,
    EventDetails,
    EventEntry,
)
from shared.telemetry import trace_id_of


def event_entry(service: str, event: RecordedEvent) -> EventEntry:
    """Return the entry of an event of the outbox."""
    if event.sent_at is None:
        title = f"{event.type} was recorded and waits to be sent to Kafka"
    else:
        delay = max(0.0, (event.sent_at - event.occurred_at).total_seconds())
        title = f"{event.type} was recorded and sent to Kafka, noted after {delay:.1f} s"
    return EventEntry(
        kind="event",
        time=event.occurred_at,
        service=service,
        title=title,
        trace_id=event.trace_id,
        event_id=event.event_id,
        details=EventDetails(
            type=event.type,
            topic=event.topic,
            key=event.key,
            sequence=event.sequence,
            state=event.state,
            recorded_at=event.occurred_at,
            sent_at=event.sent_at,
            partition=event.partition,
            offset=event.offset,
        ),
    )


def dead_letter_entry(service: str, row: sa.Row[Any]) -> DeadLetterEntry:
    """Return the entry of a dead letter."""
    what = row.type or "A record that cannot be read"
    is_blocked = row.reason == "blocked"
    cause = "is queued behind a dead letter of its key" if is_blocked else f"could not be applied: {row.error}"
    columns = {name: getattr(row, name) for name in DeadLetterDetails.model_fields}
    return DeadLetterEntry(
        kind="dead_letter",
        time=row.dead_lettered_at,
        service=service,
        title=f"{what} {cause} ({row.consumer})",
        trace_id=trace_id_of(row.traceparent),
        event_id=row.event_id,
        details=DeadLetterDetails(**columns),
    )


def action_entry(service: str, row: sa.Row[Any]) -> ActionEntry:
    """Return the entry of an action on a dead letter."""
    return ActionEntry(
        kind="action",
        time=row.acted_at,
        service=service,
        title=f"{row.actor}: {row.action} of dead letter {row.dead_letter_id}, {row.outcome}",
        trace_id=None,
        event_id=row.event_id,
        details=ActionDetails(
            subject="dead_letter",
            subject_id=str(row.dead_letter_id),
            action=row.action,
            actor=row.actor,
            outcome=row.outcome,
            note=row.detail,
        ),
    )


def position_action_entry(service: str, row: sa.Row[Any]) -> ActionEntry:
    """Return the entry of a reset of a position."""
    return ActionEntry(
        kind="action",
        time=row.acted_at,
        service=service,
        title=f"{row.actor} reset the position of {row.consumer} from {row.before} to {row.after}",
        trace_id=None,
        event_id=None,
        details=ActionDetails(
            subject="position",
            subject_id=f"{row.consumer}/{row.key}",
            action="reset",
            actor=row.actor,
            outcome=None,
            note=row.note,
        ),
    )

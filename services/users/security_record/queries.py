"""Queries of the security record."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa

from services.users.models.security_record import SecurityEvent, SecurityEventKind


@dataclass(frozen=True)
class RecordFilter:
    """Conditions of a list of entries; one that is None selects any."""

    user_id: UUID | None = None
    actor: str | None = None
    kind: SecurityEventKind | None = None
    occurred_after: datetime | None = None
    """Occurred at this time or later."""
    occurred_before: datetime | None = None


def security_events_newest_first(wanted: RecordFilter) -> sa.Select[SecurityEvent]:
    """Select entries, newest first. There is an index for each condition, with this order."""
    query = sa.select(SecurityEvent).order_by(SecurityEvent.occurred_at.desc(), SecurityEvent.id.desc())
    if wanted.user_id is not None:
        query = query.where(SecurityEvent.user_id == wanted.user_id)
    if wanted.actor is not None:
        query = query.where(SecurityEvent.actor == wanted.actor)
    if wanted.kind is not None:
        query = query.where(SecurityEvent.kind == wanted.kind)
    if wanted.occurred_after is not None:
        query = query.where(SecurityEvent.occurred_at >= wanted.occurred_after)
    if wanted.occurred_before is not None:
        query = query.where(SecurityEvent.occurred_at < wanted.occurred_before)
    return query
